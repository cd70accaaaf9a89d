"""Legs of a search: each bounded by its share of the time left, each allowed to be missing.

A leg that is Unavailable or out of its own time is noted and left out. Everything else, a programming error, a
collection that does not exist, a cancelled call, goes through.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ragmesh_retriever.domain.results import Part, Timing
from ragmesh_servicekit import deadline
from ragmesh_servicekit.errors import TIMED_OUT, DeadlineExceeded, MeshError, Unavailable

T = TypeVar("T")

FALLBACK_BUDGET_SECONDS = 10.0
"""For a search that came without a deadline."""


def share_of_remaining(share: float) -> float:
    """Seconds: a share (0..1) of what the request has left."""
    return share * deadline.within(FALLBACK_BUDGET_SECONDS)


@dataclass(slots=True)
class Legs:
    """What happened to the legs of one search."""

    failures: dict[Part, MeshError] = field(default_factory=dict)
    timings: list[Timing] = field(default_factory=list)

    async def attempt(self, part: Part, seconds: float, work: Coroutine[Any, Any, T]) -> T | None:
        """The result of `work`, or None when the leg failed, which `failures` then says."""
        try:
            return await bounded(part.value.lower(), seconds, work)
        except (Unavailable, DeadlineExceeded) as error:
            self.failures[part] = error
            return None

    async def timed(self, name: str, work: Coroutine[Any, Any, T]) -> T:
        """`work` with its duration noted, also when it fails."""
        started = time.perf_counter()
        try:
            return await work
        finally:
            self.timings.append(Timing(name, time.perf_counter() - started))

    @property
    def degraded(self) -> tuple[Part, ...]:
        """The missing parts in the order of the contract."""
        return tuple(part for part in Part if part in self.failures)


async def bounded(name: str, seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """`work` within `seconds`, which it sees as its deadline. When they are over: Unavailable naming the dependency
    while the request itself has time left, DeadlineExceeded when it has not."""
    clock = asyncio.timeout(seconds)
    try:
        with deadline.scope(seconds):
            async with clock:
                return await work
    except (TimeoutError, DeadlineExceeded) as error:
        if isinstance(error, TimeoutError) and not clock.expired():
            raise  # not this clock: an adapter let it through
        if deadline.remaining() == 0.0:
            raise DeadlineExceeded("the deadline of the request has passed") from error
        sentence = f"{name} did not answer in its share of the time"
        raise Unavailable.dependency(name, sentence, cause=TIMED_OUT) from error
