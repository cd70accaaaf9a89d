"""The bounds of the cache in process, and the shared one while it is down."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from structlog.testing import capture_logs

from ragmesh_backends.caches.memory import MemoryCache
from ragmesh_backends.caches.redis_cache import REST_SECONDS, RedisCache
from ragmesh_backends.redis.client import connect
from ragmesh_cli.stores import redis_server
from support.redis import RedisProcess


async def test_the_least_recently_used_goes_first() -> None:
    cache = MemoryCache(60.0, max_entries=2)
    await cache.set_many({"a": b"1", "b": b"2"})
    await cache.get_many(["a"])
    await cache.set_many({"c": b"3"})
    assert await cache.get_many(["a", "b", "c"]) == [b"1", None, b"3"]


async def test_bytes_are_bounded_too() -> None:
    cache = MemoryCache(60.0, max_bytes=10)
    await cache.set_many({"a": b"x" * 6})
    await cache.set_many({"b": b"x" * 4, "large": b"x" * 11})
    assert await cache.get_many(["a", "b", "large"]) == [b"x" * 6, b"x" * 4, None]
    await cache.set_many({"c": b"x"})
    assert await cache.get_many(["a", "b", "c"]) == [None, b"x" * 4, b"x"]


async def test_a_cache_that_is_down_is_empty_and_says_so_once(tmp_path: Path) -> None:
    now = [0.0]
    process = RedisProcess(tmp_path, redis_server.cache_command)
    await process.start()
    client = connect(process.address, decode_responses=False)
    cache = RedisCache(client, "test", 60.0, clock=lambda: now[0])
    try:
        await cache.set_many({"a": b"1"})
        process.kill()
        with capture_logs() as logs:
            for _ in range(5):
                await cache.set_many({"a": b"2"})
                assert await cache.get_many(["a", "b"]) == [None, None]
                now[0] += REST_SECONDS
            assert (cache.up, cache.failures) == (False, 10)
            await process.start()
            await cache.set_many({"a": b"3"})
            assert await cache.get_many(["a"]) == [b"3"]
        assert cache.up
        assert [entry["event"] for entry in logs] == ["cache.down", "cache.up"]
    finally:
        await client.aclose()
        process.kill()


async def test_a_hung_cache_delays_one_call_and_then_none_for_a_while(tmp_path: Path) -> None:
    process = RedisProcess(tmp_path, redis_server.cache_command)
    await process.start()
    client = connect(process.address, decode_responses=False)
    cache = RedisCache(client, "test", 60.0, timeout_seconds=0.1, clock=lambda: 0.0)
    try:
        await cache.set_many({"a": b"1"})
        process.signal(signal.SIGSTOP)
        started = time.monotonic()
        for _ in range(50):
            assert await cache.get_many(["a"]) == [None]
        assert time.monotonic() - started < 1.0
    finally:
        process.signal(signal.SIGCONT)
        await client.aclose()
        process.kill()


async def test_uses_of_one_cache_do_not_see_each_other(tmp_path: Path) -> None:
    process = RedisProcess(tmp_path, redis_server.cache_command)
    await process.start()
    client = connect(process.address, decode_responses=False)
    try:
        await RedisCache(client, "one", 60.0).set_many({"a": b"1"})
        assert await RedisCache(client, "two", 60.0).get_many(["a"]) == [None]
    finally:
        await client.aclose()
        process.kill()
