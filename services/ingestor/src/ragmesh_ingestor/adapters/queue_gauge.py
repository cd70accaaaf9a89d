"""How full the queue is, on a timer: a scrape then costs the queue nothing and never waits for it.

Every ingestor reports the whole queue, so that the figures stay while any of them lives; they are one figure seen
several times, and whoever adds them up counts jobs twice.
"""

from __future__ import annotations

import asyncio
import math
from typing import Protocol

import structlog

from ragmesh_backends.model.job import QueueDepth
from ragmesh_servicekit.errors import MeshError
from ragmesh_servicekit.telemetry import metrics

log = structlog.get_logger()

EVERY_SECONDS = 5.0


class Depth(Protocol):
    async def depth(self) -> QueueDepth:
        """Raises Unavailable when the queue does not answer."""
        ...


class QueueGauge:
    """Reads the depth every `every_seconds`. While the queue does not answer the figures are NaN: the last ones would
    look like a queue that stands still."""

    def __init__(self, queue: Depth, every_seconds: float = EVERY_SECONDS) -> None:
        self._queue = queue
        self._every_seconds = every_seconds

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.read_once()
            await asyncio.sleep(self._every_seconds)

    async def read_once(self) -> None:
        """One look at the queue."""
        try:
            depth = await self._queue.depth()
        except MeshError as error:
            log.debug("queue.depth_unknown", reason=error.reason)
            _show(math.nan, math.nan, math.nan, math.nan)
            return
        _show(depth.waiting, depth.pending, depth.oldest_waiting_seconds, depth.oldest_pending_seconds)


def _show(waiting: float, running: float, waiting_seconds: float, running_seconds: float) -> None:
    metrics.QUEUE_WAITING.set(waiting)
    metrics.QUEUE_RUNNING.set(running)
    metrics.QUEUE_WAITING_AGE.set(waiting_seconds)
    metrics.QUEUE_RUNNING_AGE.set(running_seconds)
