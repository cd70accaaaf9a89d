"""What a queue leaves in the numbers: its depth as the ingestor reports it, and what happened to its jobs."""

from __future__ import annotations

import math

from ragmesh_backends.model.job import JobState, Outcome
from ragmesh_backends.queues.redis_jobs import RedisJobs
from ragmesh_backends.redis.client import connect, connect_blocking
from ragmesh_ingestor.adapters.queue_gauge import QueueGauge
from support.jobs import submission, submissions
from support.moved import Moved, value


async def test_the_gauge_shows_what_waits_and_what_runs(queue: RedisJobs) -> None:
    gauge = QueueGauge(queue)
    await gauge.read_once()
    assert (value("ragmesh_queue_waiting_jobs"), value("ragmesh_queue_running_jobs")) == (0, 0)
    await queue.submit(submissions(5))
    await queue.take("one", 2, 1.0)
    await gauge.read_once()
    assert (value("ragmesh_queue_waiting_jobs"), value("ragmesh_queue_running_jobs")) == (3, 2)
    assert 0 <= value("ragmesh_queue_oldest_waiting_seconds") < 5
    assert 0 <= value("ragmesh_queue_oldest_running_seconds") < 5


async def test_two_ingestors_show_the_same_queue(queue: RedisJobs, second_queue: RedisJobs) -> None:
    await queue.submit(submissions(4))
    await queue.take("one", 1, 1.0)
    for seen in (queue, second_queue):
        await QueueGauge(seen).read_once()
        assert (value("ragmesh_queue_waiting_jobs"), value("ragmesh_queue_running_jobs")) == (3, 1)


async def test_a_queue_that_is_down_is_not_an_empty_one() -> None:
    state, blocking = connect("redis://127.0.0.1:1/0"), connect_blocking("redis://127.0.0.1:1/0")
    try:
        await QueueGauge(RedisJobs(state, blocking)).read_once()
    finally:
        await state.aclose()
        await blocking.aclose()
    assert math.isnan(value("ragmesh_queue_waiting_jobs"))
    assert math.isnan(value("ragmesh_queue_oldest_waiting_seconds"))


async def test_jobs_count_as_they_come_go_back_and_end(queue: RedisJobs, second_queue: RedisJobs) -> None:
    moved = Moved()
    await queue.submit([submission(), submission(), submission(), submission()])
    started = await queue.start(await queue.take("one", 10, 1.0))
    assert len(started) == 4
    await queue.release("one", started[:1])
    assert len(await second_queue.reclaim("two", 0.0, 10)) == 3
    ends = [JobState.READY, JobState.DEAD_LETTERED, JobState.CANCELLED]
    await queue.finish([Outcome(one, state) for one, state in zip(started[1:], ends, strict=True)])
    events = {labels["event"]: count for labels, count in moved.series("ragmesh_job_events_total")}
    assert events == {"submitted": 4, "taken": 4, "released": 1, "reclaimed": 3}
    outcomes = {labels["outcome"]: count for labels, count in moved.series("ragmesh_ended_documents_total")}
    assert outcomes == {"ready": 1, "failed": 1, "cancelled": 1}
