"""The grpc channel below a `MeshChannel`, which is replaced when this process's certificate is: in Python the
credentials of a channel cannot change (https://github.com/grpc/grpc/issues/41779).

No call notices. The new channel takes over when it is connected; calls that have begun end on the old one, which is
closed after the last of them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio
import structlog

from ragmesh_servicekit.tls.refusals import refusal, suspicion

log = structlog.get_logger()

LOST_SECONDS = 2.0
"""So long the old channel may be without a connection before the new one takes over without having one."""

WAITING_SECONDS = 10.0
"""After that it is said that the peers do not accept the new certificate yet."""

RETIRED_SECONDS = 3600.0
"""The longest that an old channel stays for a call; as long as servers let an old connection live."""

_LOOK_SECONDS = 0.1


class Refusals:
    """Whether the peers' certificates are accepted, and ours by them; said once when it changes. `role` names the
    peer."""

    def __init__(self, role: str) -> None:
        self._role = role
        self._refused = ""

    def accepted(self) -> None:
        """A call was answered well."""
        if self._refused:
            self._refused = ""
            log.info("tls.peer_accepted", peer=self._role)

    def failed(self, error: grpc.aio.AioRpcError) -> None:
        """A call ended with this."""
        why = refusal(error.details())
        perhaps = "" if why else suspicion(error.details())
        if (why or perhaps) in {"", self._refused}:
            return
        self._refused = why or perhaps
        if why:
            log.error("tls.peer_refused", peer=self._role, detail=why)
        else:
            log.warning("tls.peer_closes", peer=self._role, detail=perhaps)


class Connection:
    """One grpc channel and how many calls are on it."""

    def __init__(self, channel: grpc.aio.Channel, refusals: Refusals) -> None:
        self.channel = channel
        self.refusals = refusals
        self._calls = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def begin(self) -> None:
        """A call begins, which will `end`."""
        self._calls += 1
        self._idle.clear()

    def end(self) -> None:
        self._calls -= 1
        if not self._calls:
            self._idle.set()

    async def idle(self) -> None:
        """Wait until no call is left."""
        await self._idle.wait()

    @property
    def state(self) -> grpc.ChannelConnectivity:
        """Of now. Looking at it lets an idle channel connect."""
        return self.channel.get_state(try_to_connect=True)

    @property
    def ready(self) -> bool:
        return self.state is grpc.ChannelConnectivity.READY


class Connections:
    """The one that calls go to, and those that still have some. `role` names the peer. Inside the running loop.

    refusals: shared by all ways to one peer; None makes one. standby: it is seldom called, and a renewal is no reason
    to connect."""

    def __init__(
        self, channel: grpc.aio.Channel, role: str, refusals: Refusals | None = None, *, standby: bool = False
    ) -> None:
        self._refusals = refusals or Refusals(role)
        self._standby = standby
        self.current = Connection(channel, self._refusals)
        self._role = role
        self._renewal: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def pick(self) -> Connection:
        """What a call begins on."""
        return self.current

    def renew(self, channel: grpc.aio.Channel) -> None:
        """Let another channel take over. One that still waits to do so is closed."""
        if self._renewal is not None:
            self._renewal.cancel()
        self._renewal = self._own(self._take_over(Connection(channel, self._refusals)), "renew")

    async def close(self) -> None:
        """End calls in flight and close all."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.current.channel.close(None)

    def _own(self, work: Any, what: str) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(work, name=f"{what}-channel-{self._role}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _take_over(self, new: Connection) -> None:
        try:
            await self._connected(new)
        except BaseException:
            await new.channel.close(None)
            raise
        old, self.current = self.current, new
        self._own(self._retire(old), "retire")

    async def _connected(self, new: Connection) -> None:
        """Until the new one is, or the old one is not any more."""
        if self._standby and self.current.channel.get_state() is grpc.ChannelConnectivity.IDLE:
            return
        began = old_was_ready = time.monotonic()
        said = False
        while not new.ready:
            now = time.monotonic()
            if self.current.ready:
                old_was_ready = now
            if now - old_was_ready >= LOST_SECONDS:
                return
            if not said and now - began >= WAITING_SECONDS:
                said = True
                log.warning("tls.renewal_waits", peer=self._role, detail="no connection with the new certificate yet")
            await asyncio.sleep(_LOOK_SECONDS)

    async def _retire(self, old: Connection) -> None:
        try:
            async with asyncio.timeout(RETIRED_SECONDS):
                await old.idle()
        except TimeoutError:
            log.warning("tls.calls_cut", peer=self._role, after_seconds=RETIRED_SECONDS)
        finally:
            await old.channel.close(None)


class OnConnection:
    """A call factory's product, made when the connection is another than the last: `make` makes it on a grpc
    channel."""

    def __init__(self, make: Callable[[grpc.aio.Channel], Any]) -> None:
        self._make = make
        self._on: Connection | None = None
        self._call: Any = None

    def begin(self, connection: Connection) -> Any:
        """For one call, which begins on it: what starts the call."""
        if connection is not self._on:
            self._on, self._call = connection, self._make(connection.channel)
        connection.begin()
        return self._call
