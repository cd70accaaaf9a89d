"""The queue against a model, through random histories of submits, crashes, take-overs and late words of the dead."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from ragmesh_backends.model.job import Delivery, JobState, Outcome
from ragmesh_backends.queues.redis_jobs import RedisJobs
from ragmesh_backends.redis.client import connect, connect_blocking
from support.jobs import submission
from support.redis import RedisProcess

Result = TypeVar("Result")
WORKERS = st.sampled_from(["one", "two", "three"])


async def _awaited(call: Awaitable[Result]) -> Result:
    return await call


class QueueMachine(RuleBasedStateMachine):
    """Model: each job's state and attempt, and what each worker believes that it holds. A crashed worker keeps its
    beliefs and may act on them later, as a process does that hung and comes back."""

    server: RedisProcess

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.state, self.blocking = connect(self.server.address), connect_blocking(self.server.address)
        self.run(self.state.flushall())
        self.queues = {name: RedisJobs(self.state, self.blocking) for name in ("one", "two", "three")}
        self.jobs: dict[str, tuple[JobState, int]] = {}
        self.asked: set[str] = set()  # to stop
        self.beliefs: dict[str, list[Delivery]] = {name: [] for name in self.queues}

    def run(self, call: Awaitable[Result]) -> Result:
        return self.runner.run(_awaited(call))

    def teardown(self) -> None:
        self.run(self.state.aclose())
        self.run(self.blocking.aclose())
        self.runner.close()

    @rule(count=st.integers(1, 3))
    def submit(self, count: int) -> None:
        for job in self.run(self.queues["one"].submit([submission() for _ in range(count)])):
            self.jobs[job.job_id] = (JobState.ACCEPTED, 0)

    def _start(self, worker: str, deliveries: list[Delivery]) -> None:
        started = {one.job.job_id: one for one in self.run(self.queues[worker].start(deliveries))}
        for one in deliveries:
            job_id = one.job.job_id
            state, attempt = self.jobs[job_id]
            if not state.final and job_id in self.asked:
                self.jobs[job_id] = (JobState.CANCELLED, attempt)
            elif not state.final:
                assert started.pop(job_id).job.attempt == attempt + 1
                self.jobs[job_id] = (JobState.RUNNING, attempt + 1)
                self.beliefs[worker] = [b for b in self.beliefs[worker] if b.job.job_id != job_id]
        self.beliefs[worker] += self.run(self._now(deliveries))
        assert not started

    async def _now(self, deliveries: list[Delivery]) -> list[Delivery]:
        found = [Delivery(one.entry_id, await self.queues["one"].get("acme", one.job.job_id)) for one in deliveries]
        return [one for one in found if one.job.state is JobState.RUNNING]

    @rule(worker=WORKERS, limit=st.integers(1, 3))
    def work(self, worker: str, limit: int) -> None:
        self._start(worker, self.run(self.queues[worker].take(worker, limit, 0.0)))

    @rule(worker=WORKERS, limit=st.integers(1, 3))
    def take_over(self, worker: str, limit: int) -> None:
        """Every other worker is silent: to the queue they are all dead."""
        self._start(worker, self.run(self.queues[worker].reclaim(worker, 0.0, limit)))

    def _current(self, one: Delivery) -> bool:
        return self.jobs[one.job.job_id] == (JobState.RUNNING, one.job.attempt)

    @rule(worker=WORKERS, state=st.sampled_from([JobState.READY, JobState.DEAD_LETTERED]))
    def finish(self, worker: str, state: JobState) -> None:
        believed, self.beliefs[worker] = self.beliefs[worker][:2], self.beliefs[worker][2:]
        self.run(self.queues[worker].finish([Outcome(one, state) for one in believed]))
        for one in believed:
            if self._current(one):
                self.jobs[one.job.job_id] = (state, one.job.attempt)

    @rule(worker=WORKERS)
    def hand_back(self, worker: str) -> None:
        believed, self.beliefs[worker] = self.beliefs[worker], []
        self.run(self.queues[worker].release(worker, believed))
        for one in believed:
            if self._current(one):
                state = JobState.CANCELLED if one.job.job_id in self.asked else JobState.ACCEPTED
                self.jobs[one.job.job_id] = (state, one.job.attempt)

    @rule(worker=WORKERS)
    def show_life(self, worker: str) -> None:
        stop = self.run(self.queues[worker].heartbeat(worker, self.beliefs[worker]))
        assert stop == {
            one.job.job_id for one in self.beliefs[worker] if self._current(one) and one.job.job_id in self.asked
        }

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        open_ = sorted(job_id for job_id, (state, _) in self.jobs.items() if not state.final)
        if open_:
            job_id = data.draw(st.sampled_from(open_))
            self.run(self.queues["one"].cancel("acme", job_id))
            if self.jobs[job_id][0] is JobState.ACCEPTED:
                self.jobs[job_id] = (JobState.CANCELLED, self.jobs[job_id][1])
            else:
                self.asked.add(job_id)

    @invariant()
    def records_are_the_model(self) -> None:
        page = self.run(self.queues["one"].list("acme", limit=200))
        assert {job.job_id: (job.state, job.attempt) for job in page.jobs} == self.jobs

    @invariant()
    def what_has_not_ended_is_in_the_queue(self) -> None:
        depth = self.run(self.queues["one"].depth())
        assert depth.length == sum(not state.final for state, _ in self.jobs.values())


@pytest.fixture
def server(state_server: RedisProcess) -> RedisProcess:
    QueueMachine.server = state_server
    return state_server


def test_no_history_of_workers_loses_a_job_or_ends_one_twice(server: RedisProcess) -> None:
    run_state_machine_as_test(
        QueueMachine,
        settings=settings(
            max_examples=40, stateful_step_count=25, deadline=None, database=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )  # fmt: skip
