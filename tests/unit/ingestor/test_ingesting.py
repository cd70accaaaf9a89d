"""From submit to searchable, through everything that may go wrong on the way."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
import structlog

from ragmesh_backends.model.collection import Collection
from ragmesh_backends.model.document import DocumentState, DocumentVersion
from ragmesh_backends.model.job import Job, JobState
from ragmesh_backends.records.sqlite.copies import SqliteCopies
from ragmesh_ingestor.domain import sweeper
from ragmesh_ingestor.domain.submit import DocumentInput
from ragmesh_ingestor.domain.sweeper import Sweeper, SweeperSettings
from ragmesh_servicekit.errors import Aborted, InvalidArgument, MeshError, NotFound, Unavailable
from ragmesh_servicekit.identity import Identity
from support.small_ingest import CRASH, SmallMesh
from support.waiting import until

ACME = Identity("acme", "key-1", ("staff",))
LONG = ("A sentence of seven words is here. " * 40).encode()


@pytest.fixture
async def docs(mesh: SmallMesh) -> Collection:
    return await mesh.collections.create("acme", "docs")


async def send(mesh: SmallMesh, *documents: DocumentInput, request_id: str = "") -> list[Job]:
    fields = [f"documents[{n}]" for n in range(len(documents))] if len(documents) > 1 else None
    return await mesh.submit(ACME, "docs", documents, batch_id="b", request_id=request_id, fields=fields)


async def test_documents_become_searchable_with_their_text_and_chunks(mesh: SmallMesh, docs: Collection) -> None:
    html = b"<!doctype html><title>Page</title><h1>Page</h1><p>Some &lt;text&gt;</p>"
    async with mesh.working():
        jobs = await mesh.queue.ended(
            await send(
                mesh,
                DocumentInput(LONG, document_id="long", title="Long"),
                DocumentInput(html, document_id="page", media_type="text/html"),
                DocumentInput(b"\xef\xbb\xbfwith a mark", document_id="bom"),
            )
        )
    assert [job.state for job in jobs] == [JobState.READY] * 3
    assert mesh.seen(docs.index)[DocumentVersion("long", 1)] > 1
    assert (await mesh.documents.content("acme", "docs", "page", 0, 0)).text == "Page\n\nSome <text>"
    assert (await mesh.documents.content("acme", "docs", "bom", 5, 3)).text == "a m"
    page = await mesh.documents.get("acme", "docs", "page")
    assert (page.title, page.state) == ("Page", DocumentState.READY)
    text = (await mesh.documents.content("acme", "docs", "long", 0, 0)).text
    chunks = await mesh.documents.chunks("acme", "docs", "long", -1, 100)
    assert [chunk.text for chunk in chunks] == [text[chunk.start : chunk.end] for chunk in chunks]
    assert len(chunks) == mesh.seen(docs.index)[DocumentVersion("long", 1)]


async def test_no_row_is_written_before_readers_know_that_it_is_hidden(mesh: SmallMesh, docs: Collection) -> None:
    mesh.worker_settings = replace(mesh.worker_settings, visibility_lag_seconds=0.3)
    async with mesh.working():
        (job,) = await send(mesh, DocumentInput(b"text", document_id="a"))
        await mesh.queue.ended([job])
    version = DocumentVersion("a", 1)
    assert mesh.vectors.inserted_at[version] - mesh.visibility.hidden_at[version] >= 0.3


async def test_a_new_version_replaces_the_old_one_and_its_rows_are_swept(mesh: SmallMesh, docs: Collection) -> None:
    async with mesh.working():
        await mesh.queue.ended(await send(mesh, DocumentInput(b"one", document_id="a")))
        await mesh.queue.ended(await send(mesh, DocumentInput(b"two", document_id="a")))
    assert mesh.seen(docs.index) == {DocumentVersion("a", 2): 1}
    assert await mesh.sweeper.sweep() == 1
    assert await mesh.vectors.count_versions(docs.index, [DocumentVersion("a", 1)]) == {DocumentVersion("a", 1): 0}
    assert mesh.visibility.sets[docs.index] == set()
    assert (await mesh.documents.content("acme", "docs", "a", 0, 0)).text == "two"


async def test_two_versions_in_one_batch_leave_the_later_one(mesh: SmallMesh, docs: Collection) -> None:
    jobs = await send(mesh, DocumentInput(b"one", document_id="a"), DocumentInput(b"two", document_id="a"))
    async with mesh.working():
        await mesh.queue.ended(jobs)
    assert mesh.seen(docs.index) == {DocumentVersion("a", 2): 1}


async def test_a_deleted_document_is_never_found_and_is_swept(mesh: SmallMesh, docs: Collection) -> None:
    async with mesh.working():
        await mesh.queue.ended(await send(mesh, DocumentInput(b"one", document_id="a")))
    await mesh.documents.delete("acme", "docs", "a")
    assert mesh.seen(docs.index) == {}
    await mesh.sweeper.sweep()
    assert mesh.vectors.rows[docs.index] == {}
    with pytest.raises(NotFound):
        await mesh.documents.delete("acme", "docs", "a")


async def test_a_poison_document_is_dead_lettered_and_its_neighbours_are_ready(
    mesh: SmallMesh, docs: Collection
) -> None:
    mesh.vectors.refuses = "poison"
    async with mesh.working():
        crash, refused, hollow, good, fine = await mesh.queue.ended(
            await send(
                mesh,
                DocumentInput(CRASH, document_id="crash"),
                DocumentInput(b"a poison text", document_id="refused"),
                DocumentInput(b"<p><script>x</script>", document_id="hollow", media_type="text/html"),
                DocumentInput(b"good", document_id="good"),
                DocumentInput(b"fine", document_id="fine"),
            )
        )
    assert (good.state, fine.state) == (JobState.READY, JobState.READY)
    assert {crash.state, refused.state, hollow.state} == {JobState.DEAD_LETTERED}
    assert (crash.attempt, refused.attempt, hollow.attempt) == (3, 3, 1)
    assert "visible" in hollow.failure_message
    assert (await mesh.documents.get("acme", "docs", "hollow")).failure == hollow.failure_message
    assert set(mesh.seen(docs.index)) == {DocumentVersion("good", 1), DocumentVersion("fine", 1)}


@pytest.mark.parametrize("call", ["insert", "embed", "start", "finish", "flip", "progress"])
async def test_a_store_that_is_down_delays_a_job_and_does_not_fail_it(
    mesh: SmallMesh, docs: Collection, call: str
) -> None:
    faults = {"insert": mesh.vectors.faults, "embed": mesh.embedder.faults, "flip": mesh.visibility.faults}.get(
        call, mesh.queue.faults
    )
    jobs = await send(mesh, DocumentInput(b"text", document_id="a"))
    faults.fail[call] = Unavailable.dependency(call)
    async with mesh.working() as worker:
        if call != "progress":
            await until(lambda: faults.calls[call] >= 2)
            assert worker.owned == 1
        faults.fail.clear()
        (job,) = await mesh.queue.ended(jobs)
    assert (job.state, job.attempt) == (JobState.READY, 1)
    assert mesh.seen(docs.index) == {DocumentVersion("a", 1): 1}


async def test_a_worker_whose_store_is_down_stops_taking_and_does_not_take_the_queue_into_memory(
    mesh: SmallMesh, docs: Collection
) -> None:
    mesh.worker_settings = replace(mesh.worker_settings, take_documents=1, group_documents=1, block_seconds=0.01)
    jobs = await send(mesh, *(DocumentInput(f"text {n}".encode(), document_id=f"d{n}") for n in range(40)))
    mesh.vectors.faults.fail["insert"] = Unavailable.dependency("vectors")
    async with mesh.working() as worker:
        await until(lambda: mesh.vectors.faults.calls["insert"] > 0)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2.0):  # long enough to take all of them
                await until(lambda: worker.owned > 20)
        mesh.vectors.faults.fail.clear()
        ended = await mesh.queue.ended(jobs)
    assert {job.state for job in ended} == {JobState.READY}


async def test_a_worker_that_is_told_to_stop_while_its_queue_is_down_does_not_wait_for_it(mesh: SmallMesh) -> None:
    mesh.queue.faults.fail["take"] = Unavailable.dependency("queue")
    async with mesh.working() as worker:
        await until(lambda: mesh.queue.faults.calls["take"] > 0)
        assert await worker.drain(3.0)


async def test_a_job_that_is_asked_to_stop_is_cancelled_before_it_can_be_seen(
    mesh: SmallMesh, docs: Collection
) -> None:
    mesh.worker_settings = replace(mesh.worker_settings, visibility_lag_seconds=0.5)
    jobs = await send(mesh, DocumentInput(b"text", document_id="a"), DocumentInput(b"text", document_id="b"))
    mesh.queue.stop.add(jobs[0].job_id)
    async with mesh.working():
        first, second = await mesh.queue.ended(jobs)
    assert (first.state, second.state) == (JobState.CANCELLED, JobState.READY)
    assert mesh.seen(docs.index) == {DocumentVersion("b", 1): 1}


async def test_a_worker_that_is_killed_loses_nothing_and_another_finishes(mesh: SmallMesh, docs: Collection) -> None:
    jobs = await send(mesh, *(DocumentInput(LONG, document_id=f"d{n}") for n in range(5)))
    mesh.vectors.faults.hang.add("insert")
    killed = asyncio.create_task(mesh.worker("one").run())
    await mesh.vectors.faults.hung.wait()
    killed.cancel()
    await asyncio.gather(killed, return_exceptions=True)
    assert len(mesh.queue.waiting) == 5  # handed back
    mesh.vectors.faults.hang.clear()
    async with mesh.working("two"):
        assert {job.state for job in await mesh.queue.ended(jobs)} == {JobState.READY}
    assert len(mesh.seen(docs.index)) == 5


async def test_a_job_that_died_between_the_two_flips_is_made_visible(mesh: SmallMesh, docs: Collection) -> None:
    async with mesh.working():
        await mesh.queue.ended(await send(mesh, DocumentInput(b"one", document_id="a")))
    mesh.visibility.faults.hang.add("flip")
    jobs = await send(mesh, DocumentInput(b"two", document_id="a"))
    killed = asyncio.create_task(mesh.worker("one").run())
    await mesh.visibility.faults.hung.wait()
    killed.cancel()
    await asyncio.gather(killed, return_exceptions=True)
    mesh.visibility.faults.hang.clear()
    assert mesh.seen(docs.index) == {DocumentVersion("a", 1): 1}
    async with mesh.working("two"):
        (job,) = await mesh.queue.ended(jobs)
    assert job.state is JobState.READY
    assert mesh.seen(docs.index) == {DocumentVersion("a", 2): 1}


async def test_jobs_of_a_deleted_collection_are_cancelled(mesh: SmallMesh, docs: Collection) -> None:
    jobs = await send(mesh, DocumentInput(b"text"))
    await mesh.collections.delete("acme", "docs")
    async with mesh.working():
        (job,) = await mesh.queue.ended(jobs)
    assert job.state is JobState.CANCELLED
    await mesh.sweeper.sweep()
    assert docs.index not in mesh.vectors.rows
    with pytest.raises(NotFound):
        await mesh.blobs.get(f"{docs.index.name}/{job.job_id}.original")


@pytest.mark.parametrize("asked_to_stop", [False, True])
async def test_a_job_of_a_collection_that_was_replaced_touches_nothing_of_the_new_one(
    mesh: SmallMesh, docs: Collection, asked_to_stop: bool
) -> None:
    jobs = await send(mesh, DocumentInput(b"text", document_id="a"))
    mesh.embedder.faults.fail["embed"] = Unavailable.dependency("embed")
    async with mesh.working():
        await until(lambda: mesh.embedder.faults.calls["embed"] >= 1)
        await mesh.collections.delete("acme", "docs")
        again = await mesh.collections.create("acme", "docs")  # as `restore --replace` does it
        mesh.queue.faults.fail["submit"] = Unavailable.dependency("queue")
        with pytest.raises(Unavailable):  # its job comes later
            await send(mesh, DocumentInput(b"text", document_id="a"))
        if asked_to_stop:
            mesh.queue.stop.add(jobs[0].job_id)
        mesh.embedder.faults.fail.clear()
        (old,) = await mesh.queue.ended(jobs)
        assert old.state is JobState.CANCELLED
        assert (await mesh.documents.get("acme", "docs", "a")).state is DocumentState.PENDING
        mesh.queue.faults.fail.clear()
        assert await mesh.sweeper.reconcile() == 1
        await mesh.queue.ended(mesh.queue.jobs.values())
    assert mesh.seen(again.index) == {DocumentVersion("a", 1): 1}


async def test_a_job_whose_collection_was_replaced_before_its_turn_leaves_the_new_one_its_own(
    mesh: SmallMesh, docs: Collection
) -> None:
    jobs = await send(mesh, DocumentInput(b"text", document_id="a"))
    await mesh.collections.delete("acme", "docs")
    again = await mesh.collections.create("acme", "docs")
    jobs += await send(mesh, DocumentInput(b"other", document_id="a"))
    async with mesh.working():
        assert [job.state for job in await mesh.queue.ended(jobs)] == [JobState.CANCELLED, JobState.READY]
    assert mesh.seen(again.index) == {DocumentVersion("a", 1): 1}


async def test_one_bad_document_refuses_the_batch_and_is_named(mesh: SmallMesh, docs: Collection) -> None:
    with pytest.raises(InvalidArgument, match=r"documents\[1\]\.content") as refused:
        await send(mesh, DocumentInput(b"fine"), DocumentInput(b"abc\xff"))
    assert refused.value.violations[0].field == "documents[1].content"
    assert await mesh.documents.list("acme", "docs", "", 10) == []
    assert mesh.queue.jobs == {}


async def test_a_repeated_request_gets_the_same_jobs_and_another_payload_is_refused(
    mesh: SmallMesh, docs: Collection
) -> None:
    batches = await asyncio.gather(*(send(mesh, DocumentInput(b"text"), request_id="r") for _ in range(20)))
    assert len({batch[0].job_id for batch in batches}) == 1
    documents = await mesh.documents.list("acme", "docs", "", 10)
    assert [document.latest_version for document in documents] == [1]
    with pytest.raises(Aborted):
        await send(mesh, DocumentInput(b"other"), request_id="r")


@pytest.mark.parametrize("step", ["hide", "submit"])
async def test_what_was_begun_and_not_queued_is_failed_or_reconciled(
    mesh: SmallMesh, docs: Collection, step: str
) -> None:
    faults = mesh.visibility.faults if step == "hide" else mesh.queue.faults
    faults.fail[step] = Unavailable.dependency(step)
    with pytest.raises(Unavailable):
        await send(mesh, DocumentInput(b"text", document_id="a"))
    faults.fail.clear()
    assert mesh.seen(docs.index) == {}
    assert await mesh.sweeper.reconcile() == (0 if step == "hide" else 1)
    if step == "hide":
        assert (await mesh.documents.get("acme", "docs", "a")).state is DocumentState.FAILED
        return
    async with mesh.working():
        await mesh.queue.ended(list(mesh.queue.jobs.values()))
    assert mesh.seen(docs.index) == {DocumentVersion("a", 1): 1}


async def test_more_lost_jobs_than_a_page_holds_are_queued_again_in_one_round(
    mesh: SmallMesh, docs: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeper, "_PAGE", 3)
    await send(mesh, *(DocumentInput(b"text", document_id=f"d{n}") for n in range(7)))
    mesh.queue.jobs.clear()
    mesh.queue.waiting.clear()  # as after a restore, or a Redis that came back without its data
    assert await mesh.sweeper.reconcile() == 7
    assert len(mesh.queue.jobs) == 7
    assert await mesh.sweeper.reconcile() == 0

    mesh.queue.jobs.clear()
    hurried = Sweeper(
        mesh.records, mesh.vectors, mesh.graph, mesh.visibility, mesh.blobs, mesh.queue,
        SweeperSettings(pending_seconds=0.0, reconciling_seconds=0.0),
    )  # fmt: skip
    assert [await hurried.reconcile() for _ in range(4)] == [3, 3, 1, 0]  # the next round begins where one has ended


async def test_what_a_killed_restore_has_left_is_named_from_time_to_time(mesh: SmallMesh, docs: Collection) -> None:
    copies = SqliteCopies(mesh.records._database)
    staged = replace(docs, collection_id="restored", index=replace(docs.index, name="c_staged"))
    await copies.stage(staged)
    settings = SweeperSettings(grace_seconds=0.0, staged_seconds=0.0)
    stores = (mesh.records, mesh.vectors, mesh.graph, mesh.visibility, mesh.blobs, mesh.queue)
    with structlog.testing.capture_logs() as logs:
        await Sweeper(*stores, settings).sweep()
        await Sweeper(*stores, replace(settings, staged_seconds=3600.0)).sweep()
        assert await copies.staged("acme") == [staged.index]
        await copies.publish([staged.index], [], replace=False)
        await Sweeper(*stores, settings).sweep()
    named = [log for log in logs if log["event"] == "restore.unfinished"]
    assert named == [{"event": "restore.unfinished", "log_level": "warning", "tenant": "acme", "index": "c_staged"}]


async def test_a_collection_that_exists_is_not_made_again(mesh: SmallMesh, docs: Collection) -> None:
    with pytest.raises(MeshError, match="exists"):
        await mesh.collections.create("acme", "docs")
    assert list(mesh.vectors.rows) == [docs.index]


async def test_a_hidden_set_that_redis_lost_is_made_whole_from_the_record(mesh: SmallMesh, docs: Collection) -> None:
    await send(mesh, DocumentInput(b"text", document_id="a"))
    mesh.visibility.sets.clear()  # as after a Redis that came back without its data
    assert await mesh.sweeper.rebuild_visibility() == 1
    assert mesh.visibility.sets[docs.index] == {DocumentVersion("a", 1)}
    assert await mesh.sweeper.rebuild_visibility() == 0
