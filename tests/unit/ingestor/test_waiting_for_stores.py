"""A worker whose store's breaker is open waits, and does not spin."""

from __future__ import annotations

import asyncio

from ragmesh_ingestor.domain.patience import patiently
from ragmesh_servicekit.resilience.breaker import AsyncBreaker, BreakerPolicy
from ragmesh_servicekit.resilience.guard import Guard


async def test_an_open_breaker_makes_the_worker_wait_and_its_end_lets_it_go_on() -> None:
    breaker = AsyncBreaker("vectors", "waiting", BreakerPolicy(open_seconds=1.0))
    guard = Guard("vectors", "waiting", breaker=breaker)
    for _ in range(5):
        breaker.failure(breaker.admit())
    asked = 0

    async def write() -> str:
        nonlocal asked
        asked += 1
        async with guard.call(5.0):
            return "written"

    assert await asyncio.wait_for(patiently("store", write), 5.0) == "written"
    assert asked <= 5
