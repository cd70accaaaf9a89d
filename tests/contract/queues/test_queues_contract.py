"""What every job queue promises to the ingestor."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from ragmesh_backends.model.job import Delivery, JobStage, JobState, Outcome
from ragmesh_backends.queues.redis_jobs import RedisJobs
from ragmesh_servicekit.errors import Aborted, FailedPrecondition, InvalidArgument, NotFound, Reason
from support.jobs import submission, submissions


async def _running(queue: RedisJobs, consumer: str = "one", limit: int = 10) -> list[Delivery]:
    return await queue.start(await queue.take(consumer, limit, 1.0))


def _ready(deliveries: Sequence[Delivery]) -> list[Outcome]:
    return [Outcome(delivery, JobState.READY) for delivery in deliveries]


# -- submitting ------------------------------------------------------------------------------------


async def test_a_submitted_job_is_accepted_and_holds_all_that_was_said(queue: RedisJobs) -> None:
    asked = submission(
        batch_id="b1", document_id="Über/ä b.md", version=3, groups=("staff", "q:1"), traceparent="00-ab-cd-01"
    )
    (job,) = await queue.submit([asked])
    assert job == await queue.get("acme", asked.job_id)
    assert (job.tenant, job.principal, job.groups) == ("acme", "key-1", ("staff", "q:1"))
    assert (job.collection_id, job.document_id, job.version) == ("docs", "Über/ä b.md", 3)
    assert (job.batch_id, job.traceparent) == ("b1", "00-ab-cd-01")
    assert (job.state, job.stage, job.attempt, job.done, job.total) == (JobState.ACCEPTED, JobStage.NONE, 0, 0, 0)
    assert abs(datetime.now(UTC) - job.created_at) < timedelta(seconds=5)
    assert job.updated_at == job.created_at


async def test_jobs_come_back_in_the_order_of_their_submissions(queue: RedisJobs) -> None:
    asked = submissions(300)
    jobs = await queue.submit(asked)
    assert [job.job_id for job in jobs] == [one.job_id for one in asked]
    assert (await queue.depth()).length == 300


async def test_submitting_nothing_makes_nothing(queue: RedisJobs) -> None:
    assert await queue.submit([]) == []


async def test_the_same_job_id_is_queued_once_and_left_as_it_is(queue: RedisJobs) -> None:
    asked = submission()
    await queue.submit([asked])
    (running,) = await _running(queue)
    (again,) = await queue.submit([asked])
    assert again == running.job
    assert (await queue.depth()).length == 1


async def test_the_same_request_gets_the_same_jobs_however_often_it_comes(queue: RedisJobs) -> None:
    answers = await asyncio.gather(
        *(queue.submit(submissions(2, request_id="r1", payload_digest="d1")) for _ in range(50))
    )
    assert {tuple(job.job_id for job in jobs) for jobs in answers} == {tuple(job.job_id for job in answers[0])}
    assert (await queue.depth()).length == 2


async def test_another_payload_under_a_request_id_is_refused_and_makes_no_job(queue: RedisJobs) -> None:
    await queue.submit([submission(request_id="r1", payload_digest="d1")])
    with pytest.raises(Aborted, match="request_id: `r1` was used with another payload") as caught:
        await queue.submit([submission(request_id="r1", payload_digest="d2")])
    assert caught.value.reason is Reason.REQUEST_ID_REUSED
    assert (await queue.depth()).length == 1


async def test_a_request_is_found_with_its_digest_and_jobs_by_its_tenant_only(queue: RedisJobs) -> None:
    asked = submissions(3, request_id="r1", payload_digest="d1")
    jobs = await queue.submit(asked)
    known = await queue.find_request("acme", "r1")
    assert known is not None
    assert (known.payload_digest, known.jobs) == ("d1", tuple(jobs))
    assert await queue.find_request("globex", "r1") is None
    assert await queue.find_request("acme", "r2") is None


async def test_tenants_do_not_share_request_ids(queue: RedisJobs) -> None:
    await queue.submit([submission(request_id="r1", payload_digest="d1")])
    (other,) = await queue.submit([submission(tenant="globex", request_id="r1", payload_digest="d2")])
    assert other.tenant == "globex"


# -- delivering ------------------------------------------------------------------------------------


async def test_jobs_are_delivered_once_oldest_first(queue: RedisJobs) -> None:
    asked = submissions(5)
    await queue.submit(asked)
    first, second = await queue.take("one", 3, 1.0), await queue.take("two", 3, 1.0)
    assert [one.job.job_id for one in first + second] == [one.job_id for one in asked]
    assert await queue.take("one", 3, 0.0) == []


async def test_a_waiting_worker_gets_a_job_as_soon_as_it_is_submitted(queue: RedisJobs) -> None:
    waiting = asyncio.create_task(queue.take("one", 1, 10.0))
    asked = submission()
    await queue.submit([asked])
    async with asyncio.timeout(2.0):
        (delivery,) = await waiting
    assert delivery.job.job_id == asked.job_id


async def test_what_was_queued_before_the_first_worker_came_is_delivered(queue: RedisJobs) -> None:
    await queue.submit(submissions(2))
    assert len(await queue.take("one", 10, 0.0)) == 2


async def test_a_start_counts_the_attempt_and_says_that_the_job_runs(queue: RedisJobs) -> None:
    asked = submission()
    await queue.submit([asked])
    (delivery,) = await _running(queue)
    assert (delivery.job.state, delivery.job.stage, delivery.job.attempt) == (JobState.RUNNING, JobStage.PARSING, 1)
    assert await queue.get("acme", asked.job_id) == delivery.job


async def test_a_start_that_is_repeated_counts_once(queue: RedisJobs) -> None:
    await queue.submit([submission()])
    taken = await queue.take("one", 1, 1.0)
    await queue.start(taken)
    (again,) = await queue.start(taken)
    assert again.job.attempt == 1


async def test_progress_is_seen_by_the_owner(queue: RedisJobs) -> None:
    asked = submissions(2)
    await queue.submit(asked)
    deliveries = await _running(queue)
    await queue.progress(deliveries, JobStage.EMBEDDING, [7, 9])
    jobs = [await queue.get("acme", one.job_id) for one in asked]
    assert [(job.stage, job.done, job.total) for job in jobs] == [
        (JobStage.EMBEDDING, 0, 7),
        (JobStage.EMBEDDING, 0, 9),
    ]


async def test_a_finished_job_is_ready_and_leaves_the_queue(queue: RedisJobs) -> None:
    asked = submission()
    await queue.submit([asked])
    deliveries = await _running(queue)
    await queue.progress(deliveries, JobStage.WRITING, [4])
    await queue.finish(_ready(deliveries))
    job = await queue.get("acme", asked.job_id)
    assert (job.state, job.stage, job.done, job.total) == (JobState.READY, JobStage.NONE, 4, 4)
    assert (await queue.depth()).length == 0
    assert await queue.reclaim("two", 0.0, 10) == []


async def test_finishing_bears_repetition(queue: RedisJobs) -> None:
    asked = submission()
    await queue.submit([asked])
    deliveries = await _running(queue)
    await queue.finish(_ready(deliveries))
    await queue.finish([Outcome(deliveries[0], JobState.DEAD_LETTERED, "INTERNAL", "no")])
    assert (await queue.get("acme", asked.job_id)).state is JobState.READY


async def test_a_failed_job_says_why(queue: RedisJobs) -> None:
    asked = submission()
    await queue.submit([asked])
    (delivery,) = await _running(queue)
    await queue.finish([Outcome(delivery, JobState.DEAD_LETTERED, "CONTENT_INVALID", "the file is cut off")])
    job = await queue.get("acme", asked.job_id)
    assert (job.state, job.failure_reason, job.failure_message) == (
        JobState.DEAD_LETTERED, "CONTENT_INVALID", "the file is cut off",
    )  # fmt: skip


async def test_a_job_handed_back_is_delivered_again_at_once_and_keeps_its_attempts(queue: RedisJobs) -> None:
    asked = submission()
    await queue.submit([asked])
    deliveries = await _running(queue)
    await queue.release("one", deliveries)
    assert (await queue.get("acme", asked.job_id)).state is JobState.ACCEPTED
    (again,) = await _running(queue, "two")
    assert again.job.attempt == 2
    assert (await queue.depth()).length == 1


async def test_handing_back_bears_repetition(queue: RedisJobs) -> None:
    await queue.submit([submission()])
    deliveries = await _running(queue)
    await queue.release("one", deliveries)
    await queue.release("one", deliveries)
    assert (await queue.depth()).length == 1


# -- workers that die ------------------------------------------------------------------------------


async def test_jobs_of_a_dead_worker_are_reclaimed_without_any_new_job(queue: RedisJobs) -> None:
    asked = submissions(30)
    await queue.submit(asked)
    await _running(queue, "dead", limit=30)
    found: list[Delivery] = []
    while len(found) < 30:
        part = await queue.reclaim("alive", 0.0, 12)
        assert 0 < len(part) <= 12
        found += await queue.start(part)
        await queue.finish(_ready(found[-len(part) :]))
    assert {one.job.job_id for one in found} == {one.job_id for one in asked}
    assert {one.job.attempt for one in found} == {2}


async def test_a_job_that_shows_life_is_not_reclaimed(queue: RedisJobs) -> None:
    await queue.submit(submissions(2))
    (kept, _) = await _running(queue)
    await asyncio.sleep(0.3)  # idleness is the server's to count
    await queue.heartbeat("one", [kept])
    reclaimed = await queue.reclaim("two", 0.25, 10)
    assert kept.job.job_id not in [one.job.job_id for one in reclaimed]
    assert len(reclaimed) == 1


async def test_a_late_sign_of_life_does_not_keep_a_job_that_is_another_workers(queue: RedisJobs) -> None:
    await queue.submit([submission()])
    old = await _running(queue, "old")
    (new,) = await queue.start(await queue.reclaim("new", 0.0, 10))
    await asyncio.sleep(0.3)  # the new one dies as well
    await queue.heartbeat("old", old)
    (again,) = await queue.reclaim("third", 0.25, 10)
    assert again.entry_id == new.entry_id


async def test_a_worker_that_comes_back_from_the_dead_changes_nothing(queue: RedisJobs) -> None:
    asked = submission()
    await queue.submit([asked])
    old = await _running(queue, "old")
    new = await queue.start(await queue.reclaim("new", 0.0, 10))
    await queue.progress(old, JobStage.ACTIVATING, [99])
    await queue.finish([Outcome(old[0], JobState.DEAD_LETTERED, "INTERNAL", "too late")])
    await queue.release("old", old)
    assert await queue.heartbeat("old", old) == frozenset()
    assert await queue.get("acme", asked.job_id) == new[0].job
    await queue.finish(_ready(new))
    assert (await queue.get("acme", asked.job_id)).state is JobState.READY


async def test_of_two_workers_that_hold_one_delivery_the_first_to_start_has_it(
    queue: RedisJobs, second_queue: RedisJobs
) -> None:
    await queue.submit([submission()])
    slow = await queue.take("slow", 1, 1.0)
    fast = await second_queue.reclaim("fast", 0.0, 1)
    assert len(await second_queue.start(fast)) == 1
    assert await queue.start(slow) == []


# -- reading ---------------------------------------------------------------------------------------


async def test_a_job_of_another_tenant_looks_like_none(queue: RedisJobs) -> None:
    asked = submission()
    await queue.submit([asked])
    for tenant, job_id in (("globex", asked.job_id), ("acme", "none")):
        with pytest.raises(NotFound) as caught:
            await queue.get(tenant, job_id)
        assert caught.value.reason is Reason.JOB_NOT_FOUND
        with pytest.raises(NotFound):
            await queue.cancel(tenant, job_id)


async def test_jobs_are_listed_newest_first_page_by_page(queue: RedisJobs) -> None:
    asked = submissions(7)
    await queue.submit(asked)
    await queue.submit(submissions(3, tenant="globex"))
    listed: list[str] = []
    sizes = []
    after = ""
    while True:
        page = await queue.list("acme", after=after, limit=3)
        listed += [job.job_id for job in page.jobs]
        sizes.append(len(page.jobs))
        after = page.next
        if not after:
            break
    assert listed == [one.job_id for one in reversed(asked)]
    assert sizes == [3, 3, 1]


async def test_a_last_page_that_is_full_has_no_next(queue: RedisJobs) -> None:
    await queue.submit(submissions(3))
    assert (await queue.list("acme", limit=3)).next == ""
    assert (await queue.list("globex", limit=3)).jobs == ()


async def test_lists_are_filtered_by_collection_batch_and_state(queue: RedisJobs) -> None:
    wanted = submissions(3, collection_id="books", batch_id="b1")
    await queue.submit([*submissions(2, batch_id="b1"), *wanted, *submissions(2, collection_id="books")])
    page = await queue.list("acme", collection_id="books", batch_id="b1", state=JobState.ACCEPTED, limit=2)
    rest = await queue.list(
        "acme", collection_id="books", batch_id="b1", state=JobState.ACCEPTED, limit=2, after=page.next
    )
    assert [job.job_id for job in page.jobs + rest.jobs] == [one.job_id for one in reversed(wanted)]
    assert rest.next == ""
    assert (await queue.list("acme", state=JobState.READY)).jobs == ()


async def test_a_batch_of_another_tenant_with_the_same_name_is_not_seen(queue: RedisJobs) -> None:
    await queue.submit([submission(tenant="globex", batch_id="b1")])
    assert (await queue.list("acme", batch_id="b1")).jobs == ()


async def test_a_cursor_that_is_none_is_refused(queue: RedisJobs) -> None:
    with pytest.raises(InvalidArgument, match="page_token"):
        await queue.list("acme", after="-inf")


async def test_the_depth_counts_what_waits_and_what_is_held(queue: RedisJobs) -> None:
    empty = await queue.depth()
    assert (empty.length, empty.pending, empty.oldest_age_seconds) == (0, 0, 0.0)
    await queue.submit(submissions(3))
    await queue.take("one", 2, 1.0)
    depth = await queue.depth()
    assert (depth.length, depth.pending) == (3, 2)
    assert depth.waiting == 1
    assert 0.0 <= depth.oldest_waiting_seconds <= depth.oldest_pending_seconds < 5.0
    assert depth.oldest_age_seconds == depth.oldest_pending_seconds


async def test_the_ages_are_of_the_oldest_that_waits_and_of_the_oldest_in_hand(queue: RedisJobs) -> None:
    await queue.submit(submissions(2))
    await asyncio.sleep(0.1)  # age is the server's to count
    await queue.submit([submission()])
    waiting = await queue.depth()
    assert waiting.oldest_waiting_seconds >= 0.1
    assert waiting.oldest_pending_seconds == 0.0
    taken = await queue.take("one", 2, 1.0)
    depth = await queue.depth()
    assert depth.oldest_pending_seconds >= 0.1
    assert depth.oldest_waiting_seconds < depth.oldest_pending_seconds - 0.05
    await queue.release("one", await queue.start(taken))
    assert (await queue.depth()).oldest_pending_seconds == 0.0
    await queue.finish(_ready(await _running(queue)))
    assert (await queue.depth()).oldest_age_seconds == 0.0


# -- cancelling ------------------------------------------------------------------------------------


async def test_a_waiting_job_is_cancelled_at_once_and_never_delivered(queue: RedisJobs) -> None:
    asked = submission()
    await queue.submit([asked])
    job = await queue.cancel("acme", asked.job_id)
    assert job.state is JobState.CANCELLED
    assert await queue.take("one", 1, 0.0) == []
    assert await queue.cancel("acme", asked.job_id) == job


async def test_a_job_cancelled_between_delivery_and_start_is_not_started(queue: RedisJobs) -> None:
    asked = submission()
    await queue.submit([asked])
    taken = await queue.take("one", 1, 1.0)
    await queue.cancel("acme", asked.job_id)
    assert await queue.start(taken) == []
    assert (await queue.depth()).length == 0


async def test_a_running_job_is_asked_to_stop_through_its_heartbeat(queue: RedisJobs) -> None:
    stopped, going_on = submissions(2)
    await queue.submit([stopped, going_on])
    deliveries = await _running(queue)
    assert (await queue.cancel("acme", stopped.job_id)).state is JobState.RUNNING
    assert await queue.heartbeat("one", deliveries) == {stopped.job_id}
    await queue.finish([Outcome(deliveries[0], JobState.CANCELLED)])
    assert (await queue.get("acme", stopped.job_id)).state is JobState.CANCELLED


async def test_a_cancelled_job_whose_worker_died_ends_when_it_is_reclaimed(queue: RedisJobs) -> None:
    asked = submission()
    await queue.submit([asked])
    await _running(queue, "dead")
    await queue.cancel("acme", asked.job_id)
    assert await queue.start(await queue.reclaim("alive", 0.0, 10)) == []
    assert (await queue.get("acme", asked.job_id)).state is JobState.CANCELLED
    assert (await queue.depth()).length == 0


async def test_a_job_that_ended_cannot_be_cancelled(queue: RedisJobs) -> None:
    asked = submission()
    await queue.submit([asked])
    await queue.finish(_ready(await _running(queue)))
    with pytest.raises(FailedPrecondition) as caught:
        await queue.cancel("acme", asked.job_id)
    assert caught.value.reason is Reason.JOB_FINISHED


# -- watching --------------------------------------------------------------------------------------


async def test_a_watcher_sees_the_present_then_every_change_until_all_have_ended(queue: RedisJobs) -> None:
    asked = submission(batch_id="b1")
    await queue.submit([asked])
    seen: list[tuple[JobState, JobStage]] = []
    deliveries: list[Delivery] = []
    async with asyncio.timeout(10.0):
        async for job in queue.watch("acme", batch_id="b1"):
            seen.append((job.state, job.stage))
            if job.state is JobState.ACCEPTED:
                deliveries = await _running(queue)
            elif job.stage is JobStage.PARSING:
                await queue.progress(deliveries, JobStage.WRITING, [1])
            elif job.stage is JobStage.WRITING:
                await queue.finish(_ready(deliveries))
    assert seen == [
        (JobState.ACCEPTED, JobStage.NONE),
        (JobState.RUNNING, JobStage.PARSING),
        (JobState.RUNNING, JobStage.WRITING),
        (JobState.READY, JobStage.NONE),
    ]


async def test_a_watcher_of_a_batch_sees_jobs_that_join_it(queue: RedisJobs) -> None:
    first, second = submission(batch_id="b1"), submission(batch_id="b1")
    await queue.submit([first])
    last: dict[str, JobState] = {}
    async with asyncio.timeout(10.0):
        async for job in queue.watch("acme", batch_id="b1"):
            if not last:
                await queue.submit([second])
            last[job.job_id] = job.state
            if len(last) == 2 and job.state is JobState.ACCEPTED:
                await queue.finish(_ready(await _running(queue)))
    assert last == {first.job_id: JobState.READY, second.job_id: JobState.READY}


async def test_jobs_are_watched_by_id_and_ended_ones_are_told_once(queue: RedisJobs) -> None:
    asked = submissions(3)
    await queue.submit(asked)
    await queue.finish(_ready(await _running(queue)))
    ids = [one.job_id for one in asked[:2]]
    assert [(job.job_id, job.state) async for job in queue.watch("acme", job_ids=[*ids, ids[0]])] == [
        (job_id, JobState.READY) for job_id in ids
    ]


async def test_watching_a_job_that_is_not_there_is_refused(queue: RedisJobs) -> None:
    (other,) = await queue.submit([submission(tenant="globex")])
    for job_id in (other.job_id, "none"):
        with pytest.raises(NotFound):
            await anext(queue.watch("acme", job_ids=[job_id]))


async def test_an_unknown_batch_has_ended(queue: RedisJobs) -> None:
    await queue.submit([submission(tenant="globex", batch_id="b1")])
    assert [job async for job in queue.watch("acme", batch_id="b1")] == []
