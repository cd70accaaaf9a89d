"""MemoryCache: a bounded cache inside one process, in front of a shared one or alone."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

MAX_VALUE_BYTES = 1024 * 1024


class MemoryCache:
    """Values live ttl_seconds after they were set; the least recently used go first when there are more than
    max_entries or their bytes exceed max_bytes. A value above max_value_bytes is not kept. clock: monotonic seconds.

    Methods are coroutines for the port's sake; they never wait and never fail."""

    def __init__(
        self,
        ttl_seconds: float,
        *,
        max_entries: int = 10_000,
        max_bytes: int = 32 * 1024 * 1024,
        max_value_bytes: int = MAX_VALUE_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ttl_seconds = ttl_seconds
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._max_value_bytes = min(max_value_bytes, max_bytes)
        self._clock = clock
        self._entries: OrderedDict[str, tuple[bytes, float]] = OrderedDict()
        self._bytes = 0

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """The values in the keys' order; None for what is not there."""
        now = self._clock()
        return [self._get(key, now) for key in keys]

    async def set_many(self, values: Mapping[str, bytes]) -> None:
        """Keep these, replacing what was there."""
        until = self._clock() + self._ttl_seconds
        for key, value in values.items():
            self._remove(key)
            if len(value) <= self._max_value_bytes:
                self._entries[key] = (value, until)
                self._bytes += len(value)
        while len(self._entries) > self._max_entries or self._bytes > self._max_bytes:
            self._remove(next(iter(self._entries)))

    def _get(self, key: str, now: float) -> bytes | None:
        value, until = self._entries.get(key, (None, 0.0))
        if value is None:
            return None
        if until <= now:
            self._remove(key)
            return None
        self._entries.move_to_end(key)
        return value

    def _remove(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= len(entry[0])
