"""A second way to a peer, for while nobody whom the first way names can be reached.

In Kubernetes the first way are the Pods by name, so that calls are spread over them. But a cluster's DNS repeats an
answer for up to 30 s: when all whom it named are deleted by force, their successors are there and nobody knows their
addresses. The second way is the Service's own address, from which the nodes lead to a Pod that is ready, one or two
seconds after a deletion; of a lost node they know later. It is one Pod for each connection, so it spreads nothing, and
is used only meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from typing import Any

import grpc
import structlog

from ragmesh_servicekit.connections import Connection, Connections
from ragmesh_servicekit.errors import Unavailable
from ragmesh_servicekit.telemetry import metrics

log = structlog.get_logger()

LOST_SECONDS = 0.25
"""So long a channel may look for a connection before calls stop waiting for it. An address at which nobody is takes it
a tenth of a second to give up; a DNS that does not answer, or a peer that does not say how it is, takes longer."""

Single = Callable[..., Coroutine[Any, Any, Any]]


class Fallback:
    """Both ways to one peer, `role`; one event loop. A call asks `pick` for the connection that it is to begin on."""

    def __init__(
        self, first: Connections, second: Connections, role: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._first = first
        self._second = second
        self._role = role
        self._clock = clock
        self._looking_since: float | None = None
        self._told = False

    def pick(self) -> Connection:
        """The second way while the first is lost."""
        lost = self.lost()
        if lost is not self._told:
            self._told = lost
            (log.warning if lost else log.info)("channel.fallback", peer=self._role, in_use=lost)
        if not lost:
            return self._first.pick()
        metrics.FALLBACK_CALLS.labels(self._role).inc()
        return self._second.pick()

    def lost(self) -> bool:
        """Whether a call that began on the first way now would find nobody, or wait for a connection for long."""
        state = self._first.pick().state
        if state in (grpc.ChannelConnectivity.READY, grpc.ChannelConnectivity.SHUTDOWN):
            self._looking_since = None
            return False
        now = self._clock()
        if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
            self._looking_since = now - LOST_SECONDS  # lost until it is ready, wherever it looks next
        elif self._looking_since is None or state is grpc.ChannelConnectivity.IDLE:
            self._looking_since = now
        return now - self._looking_since >= LOST_SECONDS

    def repeating(self, single: Single) -> Single:
        """A call that may be made again, and is, once, by the second way when the first was lost under it: the
        channel's own retries all went to addresses at which nobody is left. Not when a peer has said that nobody else
        could answer either (push-back below zero)."""

        async def call(request: Any, *, timeout: float | None = None) -> Any:
            connection, began = self.pick(), self._clock()
            try:
                return await single(request, timeout=timeout, on=connection)
            except Unavailable as error:
                answered = error.retry_after_seconds is not None and error.retry_after_seconds < 0
                if answered or connection is self._second.pick() or not self.lost():
                    raise
            left = None if timeout is None else max(0.0, timeout - (self._clock() - began))
            return await single(request, timeout=left)

        return call

    async def close(self) -> None:
        """End calls in flight and close all."""
        await self._first.close()
        await self._second.close()
