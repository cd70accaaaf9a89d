"""One real Redis for the suite, emptied for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from ragmesh_backends.queues.redis_jobs import RedisJobs
from ragmesh_backends.redis.client import connect, connect_blocking
from support.redis import RedisProcess


@pytest.fixture(scope="session")
def state_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisProcess]:
    process = RedisProcess(tmp_path_factory.mktemp("rq"))
    process.start_and_wait()
    yield process
    process.kill()


Connect = Callable[[], AbstractAsyncContextManager[RedisJobs]]


@pytest.fixture(params=["redis"])
def connected(request: pytest.FixtureRequest, state_server: RedisProcess) -> Connect:
    """How a process joins the queue, of each kind of queue that the suite runs against."""
    return {"redis": lambda: _redis(state_server.address)}[request.param]


@asynccontextmanager
async def _redis(address: str) -> AsyncIterator[RedisJobs]:
    state, blocking = connect(address), connect_blocking(address)
    try:
        yield RedisJobs(state, blocking)
    finally:
        await state.aclose()
        await blocking.aclose()


@pytest.fixture
async def queue(connected: Connect, state_server: RedisProcess) -> AsyncIterator[RedisJobs]:
    """An empty queue."""
    client = connect(state_server.address)
    await client.flushall()
    await client.aclose()
    async with connected() as jobs:
        yield jobs


@pytest.fixture
async def second_queue(connected: Connect, queue: RedisJobs) -> AsyncIterator[RedisJobs]:
    """The same queue, as another process sees it."""
    async with connected() as jobs:
        yield jobs
