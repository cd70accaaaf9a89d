"""The breaker of a real Redis that dies or hangs and comes back."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ragmesh_backends.model.collection import IndexRef
from ragmesh_backends.model.document import DocumentVersion
from ragmesh_backends.model.job import JobState, Outcome
from ragmesh_backends.queues.redis_jobs import RedisJobs
from ragmesh_backends.redis.client import connect, connect_blocking
from ragmesh_backends.visibility.redis_visibility import RedisVisibility
from ragmesh_servicekit import deadline
from ragmesh_servicekit.errors import DeadlineExceeded, Unavailable
from ragmesh_servicekit.health import Check, Health
from ragmesh_servicekit.resilience.breaker import AsyncBreaker, BreakerPolicy, CallRefused
from ragmesh_servicekit.resilience.guard import Guard
from support.jobs import submission
from support.redis import RedisProcess

INDEX = IndexRef("acme", "breaker")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RedisProcess]:
    process = RedisProcess(tmp_path)
    await process.start()
    yield process
    process.kill()


class Joined:
    """One process's stores on the server: queue and visibility, behind one guard."""

    def __init__(self, server: RedisProcess, policy: BreakerPolicy | None = None) -> None:
        self.breaker = AsyncBreaker("state", "test", policy)
        guard = Guard("state", "test", breaker=self.breaker, slow_share=0.02)
        self.state, self.blocking = connect(server.address), connect_blocking(server.address)
        self.queue = RedisJobs(self.state, self.blocking, guard=guard)
        self.visibility = RedisVisibility(self.state, guard=guard)

    async def close(self) -> None:
        await self.state.aclose()
        await self.blocking.aclose()


@pytest.fixture
async def joined(server: RedisProcess) -> AsyncIterator[Joined]:
    one = Joined(server)
    yield one
    await one.close()


async def closed_again(joined: Joined, within_seconds: float = 10.0) -> None:
    """Until it serves again, under calls that a worker would make."""
    began = time.monotonic()
    while joined.breaker.state != "closed":
        assert time.monotonic() - began < within_seconds
        try:
            await joined.visibility.hidden(INDEX)
        except Unavailable:
            await asyncio.sleep(0.05)


async def test_a_killed_redis_opens_the_breaker_of_all_its_uses_and_is_served_again_within_ten_seconds(
    server: RedisProcess, joined: Joined
) -> None:
    health = Health("ingestor", (Check("state", joined.queue.ping),))
    watch = asyncio.create_task(health.watch())
    try:
        server.kill()
        for _ in range(5):
            with pytest.raises(Unavailable):
                await joined.visibility.hidden(INDEX)
        with pytest.raises(CallRefused) as caught:  # the queue's as well: it is the same server
            await joined.queue.take("worker", 1, 0.5)
        assert caught.value.metadata == {"dependency": "queue"}
        await server.start()
        await closed_again(joined)
    finally:
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)


async def test_a_hung_redis_opens_the_breaker_though_requests_give_up_first(
    server: RedisProcess, joined: Joined
) -> None:
    await joined.visibility.hidden(INDEX)
    server.signal(signal.SIGSTOP)
    try:
        for _ in range(5):
            with deadline.scope(0.15), pytest.raises(DeadlineExceeded):  # slow is 0.1 s here
                await joined.visibility.hidden(INDEX)
        assert joined.breaker.state == "open"
        began = time.monotonic()
        with pytest.raises(CallRefused):
            await joined.visibility.hidden(INDEX)
        assert time.monotonic() - began < 0.05
    finally:
        server.signal(signal.SIGCONT)
    await joined.queue.ping()
    await closed_again(joined, 2.0)


async def test_a_worker_that_waits_for_jobs_is_not_slow(server: RedisProcess) -> None:
    joined = Joined(server, BreakerPolicy(min_calls=3, slow_rate=0.1))
    try:
        for _ in range(6):
            assert await joined.queue.take("worker", 1, 0.15) == []
        assert joined.breaker.state == "closed"
    finally:
        await joined.close()


async def test_the_sign_of_life_of_jobs_passes_an_open_breaker(joined: Joined) -> None:
    await joined.queue.submit([submission()])
    taken = await joined.queue.start(await joined.queue.take("worker", 1, 1.0))
    for _ in range(5):
        joined.breaker.failure(joined.breaker.admit())
    with pytest.raises(CallRefused):
        await joined.queue.finish([Outcome(taken[0], JobState.READY)])
    assert await joined.queue.heartbeat("worker", taken) == frozenset()
    assert joined.breaker.state == "half-open"
    await joined.queue.finish([Outcome(taken[0], JobState.READY)])


async def test_a_redis_that_refuses_writes_is_still_asked(server: RedisProcess, joined: Joined) -> None:
    client = connect(server.address)
    await client.config_set("maxmemory", "1")
    for _ in range(10):
        with pytest.raises(Unavailable):
            await joined.visibility.flip(INDEX, [], [DocumentVersion("doc", 1)])
    assert joined.breaker.state == "closed"
    await joined.visibility.hidden(INDEX)
    await client.aclose()


async def test_two_hundred_callers_that_leave_do_not_open_it(joined: Joined) -> None:
    for number in range(200):
        task = asyncio.create_task(joined.visibility.hidden(INDEX))
        for _ in range(number % 7):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert joined.breaker.state == "closed"
    for _ in range(5):
        await joined.visibility.hidden(INDEX)
