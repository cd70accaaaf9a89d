"""RedisCache: the cache that all replicas share.

It fails open: while Redis is down or slow it is an empty cache, because making a value again costs time and refusing
a request costs the answer. That is logged once per change, counted, and shown in `ragmesh_dependency_up`.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

import structlog
from redis.asyncio import Redis

from ragmesh_backends.caches.memory import MAX_VALUE_BYTES
from ragmesh_backends.redis.client import bounded
from ragmesh_servicekit.errors import DeadlineExceeded, MeshError
from ragmesh_servicekit.resilience.guard import Guard
from ragmesh_servicekit.telemetry.metrics import DEPENDENCY_UP
from ragmesh_servicekit.telemetry.tracing import span

log = structlog.get_logger()

DEPENDENCY = "cache"
LAYOUT = 1
"""Part of every key. Goes up when keys or values change their form: what another layout left is never read, and
expires."""

COMMAND_SECONDS = 0.25
"""A cache that takes longer than this saves nothing."""

REST_SECONDS = 1.0
"""After a failure it is left alone for so long, so that a hung cache delays one call a second and not all."""

Result = TypeVar("Result")


class RedisCache:
    """client: with raw replies (`connect(url, decode_responses=False)`), the caller's to close. prefix: of all keys
    of this use. Values live ttl_seconds; one above max_value_bytes is not kept. guard: of that Redis; None makes one
    without a breaker. No method fails.

    failures: calls that found no cache. up: whether the last one that was tried found it.
    """

    def __init__(
        self,
        client: Redis,
        prefix: str,
        ttl_seconds: float,
        *,
        guard: Guard | None = None,
        max_value_bytes: int = MAX_VALUE_BYTES,
        timeout_seconds: float = COMMAND_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._guard = guard or Guard(DEPENDENCY)
        self._prefix = f"ragmesh:cache:{LAYOUT}:{prefix}:"
        self._ttl_milliseconds = max(1, int(ttl_seconds * 1000))
        self._max_value_bytes = max_value_bytes
        self._timeout_seconds = timeout_seconds
        self._clock = clock
        self._rests_until = float("-inf")
        self.up = True
        self.failures = 0

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """The values in the keys' order; None for what is not there."""
        if not keys:
            return []

        async def read() -> Any:
            return await self._client.mget([self._prefix + key for key in keys])

        found: list[bytes | None] | None = await self._attempt("cache.get", len(keys), read)
        return found if found is not None else [None] * len(keys)

    async def set_many(self, values: Mapping[str, bytes]) -> None:
        """Keep these, replacing what was there."""
        small = {key: value for key, value in values.items() if len(value) <= self._max_value_bytes}
        large = [self._prefix + key for key in values if key not in small]

        async def write() -> Any:
            pipeline = self._client.pipeline(transaction=False)
            for key, value in small.items():
                pipeline.set(self._prefix + key, value, px=self._ttl_milliseconds)
            if large:  # what they replace is out of date
                pipeline.delete(*large)
            await pipeline.execute()

        if values:
            await self._attempt("cache.set", len(values), write)

    async def _attempt(self, name: str, keys: int, call: Callable[[], Awaitable[Result]]) -> Result | None:
        """The call's result; None when the cache cannot be used now."""
        if self._clock() < self._rests_until:
            self.failures += 1
            return None
        try:
            with span(name, db_system_name="redis", ragmesh_keys=keys):
                async with bounded(self._guard, DEPENDENCY, self._timeout_seconds):
                    result = await call()
        except DeadlineExceeded:
            return None  # the request's own time is up; nothing is known of the cache
        except MeshError as error:
            self.failures += 1
            self._rests_until = self._clock() + REST_SECONDS
            self._turn(False, error.message)
            return None
        self._turn(True, "")
        return result

    def _turn(self, up: bool, message: str) -> None:
        DEPENDENCY_UP.labels(DEPENDENCY).set(up)
        if up == self.up:
            return
        self.up = up
        if up:
            log.info("cache.up", failures=self.failures)
        else:
            log.warning("cache.down", message=message)
