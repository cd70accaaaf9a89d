"""One retry, for calls that have no retrying caller above them.

The rule is one layer: two that retry three times each make nine calls of one, at the worst moment.

    question path    the gateway's channel retries, and nothing below it: no adapter, no driver
    ingestion path   here: a worker's call has only the queue above it, whose retry is the whole document again

After this a worker waits for a store that is down as long as it takes (`patiently`), asking seldom: that is no retry.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from ragmesh_servicekit import deadline
from ragmesh_servicekit.errors import Unavailable
from ragmesh_servicekit.telemetry import metrics

log = structlog.get_logger()

T = TypeVar("T")

ATTEMPTS = 3
FIRST_PAUSE_SECONDS = 0.1
MAX_WAIT_SECONDS = 5.0
"""A dependency that wants to be left alone for longer is not asked again here: its caller decides what to do."""


class Retry:
    """Repeats a call that is Unavailable, `ATTEMPTS` times in all. The call must bear repetition.

    dependency: a label of the metric. Pauses are anything from 0 to 100 ms, then 200 ms ("full jitter", Marc Brooker,
    Exponential Backoff And Jitter, 2015), or longer when the error asks for it. chance: a number from 0 to 1.
    """

    def __init__(
        self,
        dependency: str,
        *,
        chance: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._dependency = dependency
        self._chance = chance
        self._sleep = sleep

    async def run(self, call: Callable[[], Awaitable[T]]) -> T:
        """The result of the first call that succeeds. Raises the last error when none does, when it says not to retry,
        or when the pause would outlast the deadline of the work in hand."""
        for attempt in range(1, ATTEMPTS):
            try:
                return await call()
            except Unavailable as error:
                pause = self._pause(attempt, error)
                if pause is None:
                    raise
                log.info("call.repeated", dependency=self._dependency, attempt=attempt, reason=error.reason)
            await self._sleep(pause)
            metrics.RETRIED_CALLS.labels(self._dependency).inc()
        return await call()

    def _pause(self, attempt: int, error: Unavailable) -> float | None:
        """Seconds before the next attempt; None when there is to be none."""
        asked = error.retry_after_seconds
        if asked is not None and (asked < 0 or asked > MAX_WAIT_SECONDS):
            return None
        pause = max(asked or 0.0, self._chance() * FIRST_PAUSE_SECONDS * float(2 ** (attempt - 1)))
        left = deadline.remaining()
        return None if left is not None and pause >= left else pause
