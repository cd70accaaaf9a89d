"""What every cache promises."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

import pytest

from ragmesh_backends.caches.memory import MemoryCache
from ragmesh_backends.caches.redis_cache import RedisCache
from ragmesh_backends.redis.client import connect
from ragmesh_cli.stores import redis_server
from support.redis import RedisProcess

TTL_SECONDS = 0.2


class Cache(Protocol):
    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]: ...
    async def set_many(self, values: Mapping[str, bytes]) -> None: ...


Opened = Callable[[], AbstractAsyncContextManager[tuple[Cache, Callable[[], Awaitable[None]]]]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisProcess]:
    process = RedisProcess(tmp_path_factory.mktemp("rc"), redis_server.cache_command)
    process.start_and_wait()
    yield process
    process.kill()


@asynccontextmanager
async def _memory() -> AsyncIterator[tuple[Cache, Callable[[], Awaitable[None]]]]:
    now = [0.0]

    async def pass_time() -> None:
        now[0] += TTL_SECONDS

    yield MemoryCache(TTL_SECONDS, max_value_bytes=1_000, clock=lambda: now[0]), pass_time


@pytest.fixture(params=["memory", "redis"])
def opened(request: pytest.FixtureRequest, server: RedisProcess) -> Opened:
    """Each kind of cache, with what lets its TTL pass."""

    @asynccontextmanager
    async def redis() -> AsyncIterator[tuple[Cache, Callable[[], Awaitable[None]]]]:
        client = connect(server.address, decode_responses=False)
        await client.flushall()

        async def pass_time() -> None:
            async with asyncio.timeout(10.0):
                while await client.dbsize():  # noqa: ASYNC110  # the server's clock: there is no event
                    await asyncio.sleep(0.02)

        try:
            yield RedisCache(client, "test", TTL_SECONDS, max_value_bytes=1_000), pass_time
        finally:
            await client.aclose()

    return {"memory": _memory, "redis": redis}[request.param]


@pytest.fixture
async def cache(opened: Opened) -> AsyncIterator[Cache]:
    async with opened() as (made, _):
        yield made


async def test_what_was_set_is_found_in_the_order_asked(cache: Cache) -> None:
    await cache.set_many({"a": b"1", "b": b"\x00\xff"})
    assert await cache.get_many(["b", "none", "a", "a"]) == [b"\x00\xff", None, b"1", b"1"]


async def test_an_empty_value_is_a_value(cache: Cache) -> None:
    await cache.set_many({"a": b""})
    assert await cache.get_many(["a"]) == [b""]


async def test_nothing_is_asked_and_set_without_harm(cache: Cache) -> None:
    await cache.set_many({})
    assert await cache.get_many([]) == []


async def test_a_value_is_replaced(cache: Cache) -> None:
    await cache.set_many({"a": b"old"})
    await cache.set_many({"a": b"new"})
    assert await cache.get_many(["a"]) == [b"new"]


async def test_a_value_that_is_too_large_is_not_kept_nor_what_it_replaces(cache: Cache) -> None:
    await cache.set_many({"a": b"old", "b": b"1"})
    await cache.set_many({"a": b"x" * 1_001, "c": b"x" * 1_000})
    assert await cache.get_many(["a", "b", "c"]) == [None, b"1", b"x" * 1_000]


async def test_a_value_is_gone_after_its_time(opened: Opened) -> None:
    async with opened() as (cache, pass_time):
        await cache.set_many({"a": b"1"})
        await pass_time()
        assert await cache.get_many(["a"]) == [None]
