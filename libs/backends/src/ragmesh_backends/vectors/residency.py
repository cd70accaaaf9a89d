"""Which collections the store keeps in memory.

A loaded collection costs milvus-lite about 56 MB, and loads in 40 ms: so at most a bounded number is loaded by this
process, and the one that was not used for longest goes first. Other processes load and release on their own; a
call that meets a released collection loads it again.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager


class Residency:
    """At most max_loaded collections loaded by us and idle; more only while more are in use at once."""

    def __init__(
        self, max_loaded: int, *, load: Callable[[str], Awaitable[None]], release: Callable[[str], Awaitable[None]]
    ) -> None:
        if max_loaded < 1:
            raise ValueError("max_loaded must be at least 1")
        self._max_loaded = max_loaded
        self._load = load
        self._release = release
        self._loaded: OrderedDict[str, None] = OrderedDict()
        self._in_use: Counter[str] = Counter()
        self._changing = asyncio.Lock()

    @property
    def loaded(self) -> tuple[str, ...]:
        """Names, the one unused for longest first."""
        return tuple(self._loaded)

    @asynccontextmanager
    async def using(self, name: str) -> AsyncIterator[None]:
        """Loaded inside, unless another process releases it. Whatever loading raises is raised here."""
        self._in_use[name] += 1
        try:
            if name in self._loaded:
                self._loaded.move_to_end(name)
            else:
                await self._admit(name)
            yield
        finally:
            self._in_use[name] -= 1
            if not self._in_use[name]:
                del self._in_use[name]

    def forget(self, name: str) -> None:
        """It was dropped, or another process released it: the next use loads it."""
        self._loaded.pop(name, None)

    async def _admit(self, name: str) -> None:
        async with self._changing:
            if name in self._loaded:
                return
            await self._load(name)
            self._loaded[name] = None
            idle = [other for other in self._loaded if not self._in_use[other]]
            for other in idle[: max(0, len(self._loaded) - self._max_loaded)]:
                # Out of the books before it is out of memory: if this fails, its next use loads it once more.
                del self._loaded[other]
                await self._release(other)
