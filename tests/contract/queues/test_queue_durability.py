"""The queue when Redis dies, hangs, loses its data, or loses a reply. Each test has a server of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from ragmesh_backends.model.job import JobState, Outcome
from ragmesh_backends.queues import watching
from ragmesh_backends.queues.redis_jobs import RedisJobs
from ragmesh_backends.redis.client import connect, connect_blocking
from ragmesh_servicekit.errors import MeshError, NotFound, Reason, Unavailable
from support.jobs import submission, submissions
from support.redis import RedisProcess


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RedisProcess]:
    process = RedisProcess(tmp_path)
    await process.start()
    yield process
    process.kill()


@asynccontextmanager
async def _joined(address: str, retention_seconds: float = 3600.0) -> AsyncIterator[RedisJobs]:
    state, blocking = connect(address), connect_blocking(address)
    try:
        yield RedisJobs(state, blocking, retention_seconds=retention_seconds)
    finally:
        await state.aclose()
        await blocking.aclose()


@pytest.fixture
async def queue(server: RedisProcess) -> AsyncIterator[RedisJobs]:
    async with _joined(server.address) as jobs:
        yield jobs


async def test_no_acknowledged_job_is_lost_when_redis_is_killed_under_load(
    server: RedisProcess, queue: RedisJobs
) -> None:
    acknowledged: list[str] = []
    enough = asyncio.Event()

    async def submit() -> None:
        with suppress(Unavailable):
            while True:
                jobs = await queue.submit(submissions(3))
                acknowledged.extend(job.job_id for job in jobs)
                if len(acknowledged) >= 300:
                    enough.set()

    submitting = [asyncio.create_task(submit()) for _ in range(8)]
    async with asyncio.timeout(20.0):
        await enough.wait()
    server.kill()
    await asyncio.gather(*submitting)
    await server.start()
    delivered: set[str] = set()
    while taken := await queue.start(await queue.take("one", 500, 0.0)):
        delivered |= {one.job.job_id for one in taken}
    assert set(acknowledged) <= delivered
    assert (await queue.depth()).length == len(delivered)


async def test_attempts_and_ends_outlive_redis_too(server: RedisProcess, queue: RedisJobs) -> None:
    ended, running = submissions(2)
    await queue.submit([ended, running])
    deliveries = await queue.start(await queue.take("one", 2, 1.0))
    await queue.finish([Outcome(deliveries[0], JobState.READY)])
    server.kill()
    await server.start()
    assert (await queue.get("acme", ended.job_id)).state is JobState.READY
    (again,) = await queue.start(await queue.reclaim("two", 0.0, 10))
    assert (again.job.job_id, again.job.attempt) == (running.job_id, 2)


async def test_every_method_says_that_the_queue_is_down(server: RedisProcess, queue: RedisJobs) -> None:
    await queue.submit([submission()])
    deliveries = await queue.take("one", 1, 1.0)
    server.kill()
    calls: list[Callable[[], object]] = [
        lambda: queue.submit([submission()]),
        lambda: queue.find_request("acme", "r1"),
        lambda: queue.get("acme", "j"),
        lambda: queue.list("acme"),
        lambda: queue.cancel("acme", "j"),
        lambda: queue.depth(),
        lambda: queue.take("one", 1, 0.1),
        lambda: queue.reclaim("one", 0.0, 1),
        lambda: queue.start(deliveries),
        lambda: queue.heartbeat("one", deliveries),
        lambda: queue.finish([Outcome(deliveries[0], JobState.READY)]),
        lambda: queue.release("one", deliveries),
        lambda: queue.ping(),
    ]
    for call in calls:
        with pytest.raises(Unavailable) as caught:
            await call()  # type: ignore[misc]  # each is a coroutine
        assert caught.value.metadata == {"dependency": "queue"}


async def test_a_queue_that_lost_its_data_serves_on(server: RedisProcess, queue: RedisJobs) -> None:
    (job,) = await queue.submit([submission()])
    deliveries = await queue.start(await queue.take("one", 1, 1.0))
    waiting = asyncio.create_task(queue.take("one", 1, 10.0))
    client = connect(server.address)
    await client.flushall()
    await client.aclose()
    assert await queue.heartbeat("one", deliveries) == frozenset()
    await queue.finish([Outcome(deliveries[0], JobState.READY)])
    with pytest.raises(NotFound):
        await queue.get("acme", job.job_id)
    asked = submission()
    await queue.submit([asked])
    async with asyncio.timeout(5.0):
        (delivery,) = await waiting
    assert delivery.job.job_id == asked.job_id
    assert await queue.reclaim("two", 60.0, 1) == []


async def test_a_submit_whose_replies_are_lost_makes_one_job(server: RedisProcess, tmp_path: Path) -> None:
    """A proxy passes the command on and cuts the connection before the reply."""
    lose = 2
    relays: list[asyncio.Task[None]] = []

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_unix_connection(server.address.removeprefix("unix://"))
        asked = b""

        async def commands() -> None:
            nonlocal asked
            while asked := await reader.read(65536):
                up_writer.write(asked)
            up_writer.write_eof()

        async def replies() -> None:  # Redis may write one in several pieces, so that they have a loop of their own
            nonlocal lose
            while reply := await up_reader.read(65536):
                if b"EVAL" in asked and not reply.startswith(b"-NOSCRIPT") and lose:
                    lose -= 1
                    return
                writer.write(reply)

        asking = asyncio.create_task(commands(), name="proxy.commands")
        try:
            await replies()
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            for one in (up_writer, writer):
                one.close()
                with suppress(ConnectionError):
                    await one.wait_closed()

    def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        relays.append(asyncio.create_task(relay(reader, writer), name="proxy.relay"))

    proxying = await asyncio.start_unix_server(proxy, tmp_path / "p.sock")
    try:
        asked = submission(request_id="r1", payload_digest="d1")
        async with _joined(f"unix://{tmp_path / 'p.sock'}") as queue:
            for _ in range(2):
                with pytest.raises(Unavailable):
                    await queue.submit([asked])
            assert lose == 0
            (job,) = await queue.submit([asked])
            assert job.job_id == asked.job_id
            for _ in range(20):
                assert (await queue.depth()).length == 1
    finally:
        proxying.close()
        await proxying.wait_closed()
        async with asyncio.timeout(5.0):
            await asyncio.gather(*relays, return_exceptions=True)


async def test_a_watcher_misses_nothing_across_a_restart(server: RedisProcess, queue: RedisJobs) -> None:
    asked = submission(batch_id="b1")
    await queue.submit([asked])
    (delivery,) = await queue.start(await queue.take("one", 1, 1.0))
    states: list[JobState] = []

    async def watch() -> None:
        async for job in queue.watch("acme", batch_id="b1"):
            states.append(job.state)
            first.set()

    first = asyncio.Event()
    watcher = asyncio.create_task(watch())
    async with asyncio.timeout(15.0):
        await first.wait()
        server.kill()
        await server.start()
        await queue.finish([Outcome(delivery, JobState.READY)])
        await watcher
    assert states == [JobState.RUNNING, JobState.READY]


async def test_a_watcher_is_told_when_the_queue_stays_away(
    server: RedisProcess, queue: RedisJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "RECONNECT_SECONDS", 0.3)
    await queue.submit([submission(batch_id="b1")])
    changes = queue.watch("acme", batch_id="b1")
    await anext(changes)
    server.kill()
    with pytest.raises(Unavailable):
        await anext(changes)


async def test_watchers_are_bounded_and_leave_no_connection_behind(queue: RedisJobs) -> None:
    await queue.submit([submission(batch_id="b1")])
    watchers = [queue.watch("acme", batch_id="b1") for _ in range(watching.MAX_WATCHERS)]
    await asyncio.gather(*(anext(watcher) for watcher in watchers))
    with pytest.raises(MeshError) as caught:
        await anext(queue.watch("acme", batch_id="b1"))
    assert caught.value.reason is Reason.OVERLOADED
    assert await queue.take("one", 1, 0.1)  # a worker is not starved by them
    await asyncio.gather(*(watcher.aclose() for watcher in watchers))
    assert (await anext(queue.watch("acme", batch_id="b1"))).batch_id == "b1"


async def test_ended_jobs_are_forgotten_after_their_time_and_others_are_kept(server: RedisProcess) -> None:
    async with _joined(server.address, retention_seconds=0.0) as queue:
        ended, waiting = submission(batch_id="b1"), submission(batch_id="b1")
        await queue.submit([ended])
        (delivery,) = await queue.start(await queue.take("one", 1, 1.0))
        await queue.finish([Outcome(delivery, JobState.READY)])
        await queue.submit([waiting])
        with pytest.raises(NotFound):
            await queue.get("acme", ended.job_id)
        for page in (await queue.list("acme"), await queue.list("acme", batch_id="b1")):
            assert [job.job_id for job in page.jobs] == [waiting.job_id]


async def test_an_entry_that_vanished_keeps_no_other_job_from_being_reclaimed(
    server: RedisProcess, queue: RedisJobs
) -> None:
    """As when an operator deletes one from the stream: Redis 6.2 goes on to list it as pending, without an id."""
    await queue.submit(submissions(2))
    vanished, left = await queue.start(await queue.take("dead", 2, 1.0))
    client = connect(server.address)
    await client.xdel("ragmesh:{jobs}:work", vanished.entry_id)
    await client.aclose()
    for _ in range(2):
        assert [one.job for one in await queue.reclaim("alive", 0.0, 1)] == [left.job]


async def test_consumers_long_gone_are_removed_unless_they_hold_a_job(
    server: RedisProcess, queue: RedisJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ragmesh_backends.queues.delivery.CONSUMER_IDLE_SECONDS", -1.0)
    await queue.submit(submissions(2))
    await queue.take("holds", 1, 1.0)
    (delivery,) = await queue.start(await queue.take("done", 1, 1.0))
    await queue.finish([Outcome(delivery, JobState.READY)])
    await queue.reclaim("new", 60.0, 1)
    client = connect(server.address)
    names = {info["name"] for info in await client.xinfo_consumers("ragmesh:{jobs}:work", "workers")}
    await client.aclose()
    assert "holds" in names
    assert "done" not in names
