"""Waiting for a store that is down: the one place where the ingestor repeats calls."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from ragmesh_servicekit.errors import DeadlineExceeded, Unavailable

log = structlog.get_logger()

T = TypeVar("T")

_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 5.0


async def patiently(
    step: str, call: Callable[[], Awaitable[T]], *, limit_seconds: float = math.inf, stop: asyncio.Event | None = None
) -> T:
    """The result of a call that bears repetition, however long its store is down: a job that has been promised waits
    for the store, it does not fail because of it. Only cancellation ends the waiting, and limit_seconds and stop:
    whoever gives them gets the store's error when the store is down for longer, or still after it was set."""
    loop = asyncio.get_running_loop()
    until, pause = loop.time() + limit_seconds, _FIRST_PAUSE_SECONDS
    while True:
        try:
            return await call()
        except (Unavailable, DeadlineExceeded) as error:
            if loop.time() + pause > until or (stop is not None and stop.is_set()):
                raise
            log.warning("ingestor.store_down", step=step, message=error.message, pause_seconds=pause)
        if stop is None:
            await asyncio.sleep(pause)  # a store that comes back tells nobody, and cancellation ends it
        else:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause)
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
