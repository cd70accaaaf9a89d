"""A second request to another replica when the first is late.

A process that hangs (stopped, swapping, in a long collection) answers nothing and refuses nothing, so no retry
comes of it until its connection is given up, seconds later. A read that has waited longer than reads usually take is
sent once more, to the next replica of the round; the first answer counts and the other request is cancelled
(Dean and Barroso, The Tail at Scale, 2013). grpc's own `hedgingPolicy` does nothing in its core.

The round does not know which replica hangs, so the second request may meet it as well: then there is a third.

Only for reads, and within a budget: were everything slow, a second request for each would make it slower.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from ragmesh_servicekit.telemetry import metrics

T = TypeVar("T")

REMEMBERED = 128
LEAST_SECONDS = 0.1
MOST_SECONDS = 1.0
TIMES_P95 = 2.0
SHARE = 0.05
BURST = 50.0
MOST_REQUESTS = 6


class Hedge:
    """For one method of one channel; one event loop. Late is `TIMES_P95` x the 95th percentile of the last answers,
    between LEAST_SECONDS and MOST_SECONDS. Each request earns SHARE of a second one, and at most BURST are saved up:
    so much is spent while a hung replica is found out."""

    def __init__(self, method: str) -> None:
        self._method = method
        self._seconds: deque[float] = deque(maxlen=REMEMBERED)
        self._late_after = MOST_SECONDS
        self._observed = 0
        self._budget = BURST

    @property
    def late_after_seconds(self) -> float:
        """How long the first request is waited for alone."""
        return self._late_after

    async def run(self, attempt: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The first answer of `attempt`, which is begun MOST_REQUESTS times at most, each when those before are late.
        An error is waited out while another still runs; when all fail, the first's is raised. Cancelling the caller
        cancels all."""
        self._budget = min(BURST, self._budget + SHARE)
        running = [asyncio.create_task(self._timed(attempt), name=f"call {self._method}")]
        try:
            while len(running) < MOST_REQUESTS:
                done, _ = await asyncio.wait(running, timeout=self._late_after, return_when=asyncio.FIRST_COMPLETED)
                if done or self._budget < 1.0:
                    break
                self._budget -= 1.0
                metrics.HEDGED_CALLS.labels(self._method).inc()
                running.append(asyncio.create_task(self._timed(attempt), name=f"hedge {self._method}"))
            return (await _first_good(running)).result()
        finally:
            await _cancel(running)

    async def _timed(self, attempt: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Each request's own time: with what it had waited for the other one in it, a hung replica would make late
        ever later."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        answer = await attempt()
        self._observe(loop.time() - started)
        return answer

    def _observe(self, seconds: float) -> None:
        self._seconds.append(seconds)
        self._observed += 1
        if self._observed % 16 == 0:  # sorting for each answer would cost more than it tells
            ordered = sorted(self._seconds)
            p95 = ordered[int(0.95 * (len(ordered) - 1))]
            self._late_after = min(MOST_SECONDS, max(LEAST_SECONDS, TIMES_P95 * p95))


async def _first_good(tasks: list[asyncio.Task[T]]) -> asyncio.Task[T]:
    """The first task that ends well; when all fail, the first of the list."""
    waiting = set(tasks)
    while waiting:
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            if not task.cancelled() and task.exception() is None:
                return task
    return tasks[0]


async def _cancel(tasks: list[asyncio.Task[T]]) -> None:
    """Cancel what still runs, and see it end."""
    late: list[Awaitable[T]] = []
    for task in tasks:
        if task.done():
            if not task.cancelled():
                task.exception()  # looked at, so that it is not reported as forgotten
        else:
            task.cancel()
            late.append(task)
    if late:
        await asyncio.gather(*late, return_exceptions=True)
