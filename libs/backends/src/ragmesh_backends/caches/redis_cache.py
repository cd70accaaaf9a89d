"""A cache in Redis. One that is down is an empty cache: said once when it changes, never an error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from redis.asyncio import Redis

from ragmesh_backends.redis.calls import calling
from ragmesh_servicekit.errors import MeshError

log = structlog.get_logger()

CALL_SECONDS = 0.25
"""A cache slower than this costs more than it saves."""


class RedisCache:
    """client must not decode replies: values are bytes. Values above max_value_bytes are not kept."""

    def __init__(self, client: Redis, prefix: str, ttl_seconds: int = 3600, max_value_bytes: int = 1024 * 1024) -> None:
        self._client: Any = client
        self._prefix = prefix
        self._ttl_seconds = ttl_seconds
        self._max_value_bytes = max_value_bytes
        self._down = False
        self.failures = 0

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """The values in order, None for what is not there."""
        if not keys:
            return []
        try:
            async with calling("cache", "get", CALL_SECONDS):
                found: list[bytes | None] = await self._client.mget([f"{self._prefix}:{key}" for key in keys])
        except MeshError as error:
            self._failed(error)
            return [None] * len(keys)
        self._answered()
        return found

    async def set_many(self, values: Mapping[str, bytes]) -> None:
        """Keep values for ttl_seconds."""
        kept = {key: value for key, value in values.items() if len(value) <= self._max_value_bytes}
        if not kept:
            return
        try:
            async with calling("cache", "set", CALL_SECONDS):
                pipeline = self._client.pipeline(transaction=False)
                for key, value in kept.items():
                    pipeline.set(f"{self._prefix}:{key}", value, ex=self._ttl_seconds)
                await pipeline.execute()
        except MeshError as error:
            self._failed(error)
        else:
            self._answered()

    def _failed(self, error: MeshError) -> None:
        self.failures += 1
        if not self._down:
            self._down = True
            log.warning("cache.down", cache=self._prefix, reason=error.reason)

    def _answered(self) -> None:
        if self._down:
            self._down = False
            log.info("cache.back", cache=self._prefix, failures=self.failures)
