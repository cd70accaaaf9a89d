"""Redis clients: no retries, bounded waits, translated errors, and a reply that reaches its own caller only."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from ragmesh_backends.redis.client import bounded, connect, connect_blocking, require_durable
from ragmesh_backends.redis.script import Script
from ragmesh_cli.stores import redis_server
from ragmesh_servicekit import deadline
from ragmesh_servicekit.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    Reason,
    Unavailable,
)
from ragmesh_servicekit.resilience.guard import Guard
from support.redis import RedisProcess
from support.waiting import until


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisProcess]:
    process = RedisProcess(tmp_path_factory.mktemp("rk"))
    process.start_and_wait()
    yield process
    process.kill()


@pytest.fixture
async def client(server: RedisProcess) -> AsyncIterator[Redis]:
    client = connect(server.address)
    await client.flushall()
    yield client
    await client.aclose()


async def test_a_cancelled_command_does_not_hand_its_reply_to_another_caller(server: RedisProcess) -> None:
    """redis-py #2624: with one connection the next caller would read the reply of the cancelled command."""
    client = connect(server.address, max_connections=1)
    await client.mset({f"k{number}": f"v{number}" for number in range(200)})
    try:
        for number in range(0, 200, 2):
            cancelled = asyncio.ensure_future(client.get(f"k{number}"))
            for _ in range(number % 9):  # at every await in turn: before, while and after it is sent
                await asyncio.sleep(0)
            cancelled.cancel()
            assert await client.get(f"k{number + 1}") == f"v{number + 1}"
            await asyncio.gather(cancelled, return_exceptions=True)
    finally:
        await client.aclose()


async def test_a_cancelled_pipeline_does_not_leave_its_replies_behind(server: RedisProcess) -> None:
    client = connect(server.address, max_connections=1)
    await client.set("mine", "value")
    try:
        for turns in range(12):
            pipeline = client.pipeline(transaction=False)
            for _ in range(50):
                pipeline.ping()
            cancelled = asyncio.create_task(pipeline.execute())
            for _ in range(turns):
                await asyncio.sleep(0)
            cancelled.cancel()
            assert await client.get("mine") == "value"
            await asyncio.gather(cancelled, return_exceptions=True)
    finally:
        await client.aclose()


async def test_a_command_whose_reply_is_lost_is_sent_once(tmp_path: Path) -> None:
    """The driver's default would send it eleven times."""
    received = []

    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.read(1000))
        writer.close()

    server = await asyncio.start_unix_server(cut, tmp_path / "cut.sock")
    client = connect(f"unix://{tmp_path / 'cut.sock'}")
    try:
        with pytest.raises(Unavailable):
            async with bounded(Guard("state"), "queue", 5.0):
                await client.xadd("work", {"job": "1"})
        assert sum(b"XADD" in data for data in received) == 1
    finally:
        await client.aclose()
        server.close()
        await server.wait_closed()


async def test_a_server_that_is_not_there_is_unavailable_at_once(tmp_path: Path) -> None:
    client = connect(f"unix://{tmp_path}/none.sock")
    started = time.monotonic()
    with pytest.raises(Unavailable) as caught:
        async with bounded(Guard("state"), "queue", 5.0):
            await client.ping()
    assert time.monotonic() - started < 1.0
    assert caught.value.metadata == {"dependency": "queue"}
    await client.aclose()


async def test_a_hung_server_costs_no_more_than_the_cap_and_serves_again_afterwards(tmp_path: Path) -> None:
    process = RedisProcess(tmp_path)
    await process.start()
    client = connect(process.address)
    try:
        await client.set("k", "v")
        process.signal(signal.SIGSTOP)
        started = time.monotonic()
        with pytest.raises(Unavailable):
            async with bounded(Guard("state"), "queue", 0.2):
                await client.get("k")
        assert time.monotonic() - started < 1.0
        process.signal(signal.SIGCONT)
        assert await client.get("k") == "v"
    finally:
        await client.aclose()
        process.kill()


async def test_a_request_whose_time_is_up_is_told_so(client: Redis) -> None:
    with pytest.raises(DeadlineExceeded), deadline.scope(0.05):
        async with bounded(Guard("state"), "queue", 5.0):
            await client.blpop(["nothing"], timeout=5)


async def test_a_restarted_server_is_found_again_by_the_next_command(tmp_path: Path) -> None:
    process = RedisProcess(tmp_path)
    await process.start()
    client = connect(process.address)
    try:
        await asyncio.gather(*(client.ping() for _ in range(8)))
        process.kill()
        await process.start()
        async with bounded(Guard("state"), "queue", 5.0):
            await asyncio.gather(*(client.ping() for _ in range(8)))
    finally:
        await client.aclose()
        process.kill()


async def test_a_full_pool_refuses_as_overloaded(server: RedisProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ragmesh_backends.redis.client.POOL_WAIT_SECONDS", 0.05)
    client = connect_blocking(server.address, max_connections=1)
    pool = client.connection_pool
    waiting = asyncio.ensure_future(client.blpop(["nothing"], timeout=5))
    try:
        await until(lambda: not pool.can_get_connection())
        with pytest.raises(Unavailable) as caught:
            async with bounded(Guard("state"), "queue", 5.0):
                await client.ping()
        assert caught.value.reason is Reason.OVERLOADED
    finally:
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await client.aclose()


async def test_a_full_store_refuses_writes_with_a_sentence(client: Redis) -> None:
    await client.set("large", "x" * 2_000_000)
    await client.config_set("maxmemory", "1mb")
    script = Script("return redis.call('SET', KEYS[1], ARGV[1])")
    try:
        for call in (lambda: client.set("k", "v"), lambda: script.run(client, "k", "v")):
            with pytest.raises(Unavailable, match="takes no writes now"):
                async with bounded(Guard("state"), "queue", 5.0):
                    await call()
    finally:
        await client.config_set("maxmemory", "0")


async def test_a_command_that_the_server_refuses_is_our_fault(client: Redis) -> None:
    await client.set("k", "text")
    with pytest.raises(Internal):
        async with bounded(Guard("state"), "queue", 5.0):
            await client.hgetall("k")


async def test_a_script_is_sent_to_a_server_that_does_not_know_it(client: Redis) -> None:
    script = Script("return ARGV[1]")
    await client.script_flush()
    assert [await script.run(client, "k", "a"), await script.run(client, "k", "b")] == ["a", "b"]


def test_an_address_that_is_none_is_refused_without_repeating_it() -> None:
    with pytest.raises(InvalidArgument, match="a Redis address is") as caught:
        connect("http://user:hunter2@host")
    assert "hunter2" not in caught.value.message


async def test_a_durable_store_is_accepted(client: Redis) -> None:
    await require_durable(client)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--appendonly", "no"), "set `appendonly yes`"),
        (("--maxmemory-policy", "allkeys-lru"), "set `maxmemory-policy noeviction`"),
    ],
)
async def test_a_store_that_may_lose_jobs_is_refused(tmp_path: Path, options: tuple[str, ...], sentence: str) -> None:
    process = RedisProcess(tmp_path, redis_server.state_command, *options)
    await process.start()
    client = connect(process.address)
    try:
        with pytest.raises(FailedPrecondition, match=sentence):
            await require_durable(client)
    finally:
        await client.aclose()
        process.kill()


async def test_a_store_that_never_answers_is_given_up(tmp_path: Path) -> None:
    client = connect(f"unix://{tmp_path}/none.sock")
    with pytest.raises(Unavailable, match="did not answer within"):
        await require_durable(client, wait_seconds=0.1)
    await client.aclose()
