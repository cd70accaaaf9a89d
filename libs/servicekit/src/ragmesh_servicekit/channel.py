"""Channels from one service of the mesh to another.

A channel spreads calls over the replicas behind its target, repeats calls that the contract marks repeatable, and finds
out within seconds that a peer hangs. Each call made through it carries what is left of the deadline, an identity token
for the peer and the trace, and what it raises is a MeshError. That is done by `MeshChannel`, which wraps the four call
factories that generated stubs use: simpler than four client interceptors, and cancellation passes through untouched.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from typing import Any, cast

import grpc
import grpc.aio
from google.protobuf.descriptor import ServiceDescriptor

from ragmesh_servicekit import deadline, identity
from ragmesh_servicekit.channel_options import (
    READS,
    REPEATABLE,
    channel_options,
    methods_of,
    repeatable_methods,
    service_config,
)
from ragmesh_servicekit.connections import Connection, Connections, OnConnection, Refusals
from ragmesh_servicekit.errors import DeadlineExceeded
from ragmesh_servicekit.fallback import Fallback
from ragmesh_servicekit.observed_call import ObservedCall
from ragmesh_servicekit.resilience.hedge import Hedge
from ragmesh_servicekit.streamed_requests import listen, remembering, settled
from ragmesh_servicekit.telemetry import tracing
from ragmesh_servicekit.tls.certificate import Certificate
from ragmesh_servicekit.tls.peers import channel_credentials, name_options
from ragmesh_servicekit.tls.rotation import Rotation
from ragmesh_servicekit.tokens import METADATA_KEY, TokenMinter

MARGIN_SECONDS = 0.05
"""Kept back for the way home, so that the caller hears DEADLINE_EXCEEDED from us and not from its own clock."""

DEFAULT_SECONDS = 30.0
_EOF = cast(Any, grpc.aio).EOF  # its stubs do not have it


def open_channel(
    target: str,
    role: str,
    minter: TokenMinter,
    *services: ServiceDescriptor,
    fallback: str = "",
    tls: Rotation | None = None,
) -> MeshChannel:
    """A channel to `target` (`dns:///name:port`, `ipv4:1.2.3.4:1,1.2.3.5:1`). `role` names the peer: the audience of
    its tokens, what its health is asked by, what errors call it, and, when the target has no host name, its
    certificate. fallback: a second way to the same peer, in the same form. tls: what the channel shows, and renews
    itself by. Must be made inside the running loop; close it."""
    repeatable, refusals = repeatable_methods(*services), Refusals(role)

    def connect(way: str, health: str, names: list[tuple[str, Any]], *, standby: bool = False) -> Connections:
        options = channel_options(service_config(repeatable, health_service=health))
        if tls is None:
            return Connections(grpc.aio.insecure_channel(way, options), role, refusals, standby=standby)

        def secure(certificate: Certificate) -> grpc.aio.Channel:
            return grpc.aio.secure_channel(way, channel_credentials(certificate), [*options, *names])

        connections = Connections(secure(tls.current), role, refusals, standby=standby)
        tls.on_change(lambda certificate: connections.renew(secure(certificate)))
        return connections

    first = connect(target, role, name_options(target, role))
    second = None
    if fallback:
        # Not asked for its health: behind one address there is no other to take instead of one that drains, and serves.
        second = connect(fallback, "", name_options(target, role, elsewhere=True), standby=True)
    return MeshChannel(
        first if second is None else Fallback(first, second, role),
        role,
        minter,
        hedged=_paths(services, READS),
        repeatable=_paths(services, REPEATABLE),
    )


class MeshChannel:
    """A channel for generated stubs. Replies: a coroutine for calls with one, a `ReplyStream` for calls with many.
    Of methods, as the wire has them: `hedged` are sent to another replica as well when the first is late, `repeatable`
    may be sent again by the second of two ways."""

    def __init__(
        self,
        ways: Connections | Fallback,
        role: str,
        minter: TokenMinter,
        hedged: Iterable[str] = (),
        repeatable: Iterable[str] = (),
    ) -> None:
        self._ways = ways
        self._role = role
        self._minter = minter
        self._hedged = frozenset(hedged)
        self._repeatable = frozenset(repeatable)

    async def close(self) -> None:
        """End calls in flight and close."""
        await self._ways.close()

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        single = self._single(method, lambda channel: channel.unary_unary(method, *args, **kwargs))
        if isinstance(self._ways, Fallback) and method in self._repeatable:
            single = self._ways.repeating(single)
        return self._late(single, Hedge(method)) if method in self._hedged else single

    def stream_unary(self, method: str, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        return self._single(method, lambda channel: channel.stream_unary(method, *args, **kwargs))

    def unary_stream(self, method: str, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        return self._many(method, lambda channel: channel.unary_stream(method, *args, **kwargs))

    def stream_stream(self, method: str, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        return self._many(method, lambda channel: channel.stream_stream(method, *args, **kwargs))

    def _single(self, method: str, make: Callable[[grpc.aio.Channel], Any]) -> Callable[..., Any]:
        made = OnConnection(make)

        async def single(request: Any, *, timeout: float | None = None, on: Connection | None = None) -> Any:
            connection = on or self._ways.pick()
            call = made.begin(connection)
            observed = ObservedCall(method, self._role, connection)
            requests = remembering(request)
            with observed.step(requests):
                running = call(requests, timeout=_seconds(timeout), metadata=self._metadata(observed))
                listen(requests, running)
                reply = await settled(running, requests, running)
                observed.end()
                return reply

        return single

    def _many(self, method: str, make: Callable[[grpc.aio.Channel], Any]) -> Callable[..., ReplyStream]:
        made = OnConnection(make)

        def many(request: Any, *, timeout: float | None = None) -> ReplyStream:
            connection = self._ways.pick()
            call = made.begin(connection)
            observed = ObservedCall(method, self._role, connection)
            requests = remembering(request)
            with observed.step(requests):
                running = call(requests, timeout=_seconds(timeout), metadata=self._metadata(observed))
            listen(requests, running)
            return ReplyStream(running, observed, requests)

        return many

    def _late(self, single: Callable[..., Coroutine[Any, Any, Any]], hedge: Hedge) -> Callable[..., Any]:
        async def hedged(request: Any, *, timeout: float | None = None) -> Any:
            if isinstance(self._ways, Fallback) and self._ways.lost():  # the second way leads to one replica only
                return await single(request, timeout=timeout)
            return await hedge.run(lambda: single(request, timeout=timeout))

        return hedged

    def _metadata(self, observed: ObservedCall) -> grpc.aio.Metadata:
        metadata = grpc.aio.Metadata(*tracing.inject({}, observed.span).items())
        caller = identity.current.get()
        if caller is not None:
            metadata.add(METADATA_KEY, self._minter.mint(caller, self._role))
        return metadata


def _paths(services: tuple[ServiceDescriptor, ...], kinds: frozenset[Any]) -> list[str]:
    return [f"/{method.containing_service.full_name}/{method.name}" for method in methods_of(services, kinds)]


class ReplyStream(AsyncIterator[Any]):
    """The replies of a call, which has begun. Leaving it cancels the call: by `aclose`, by cancelling whoever reads, or
    by dropping it. No context variable is held between replies, so any task may read the next one."""

    def __init__(self, call: Any, observed: ObservedCall, requests: Any) -> None:
        self._call = call
        self._observed = observed
        self._requests = requests

    async def __anext__(self) -> Any:
        if self._observed.ended:
            raise StopAsyncIteration
        with self._observed.step(self._requests):
            try:
                reply = await settled(self._call.read(), self._requests, self._call)
            except BaseException:  # grpc does not cancel a call whose reader is cancelled before it was sent
                self._call.cancel()  # without effect on one that has ended
                raise
        if reply is _EOF:
            self._observed.end()
            raise StopAsyncIteration
        return reply

    async def aclose(self) -> None:
        """Cancel the call unless it has ended."""
        self._call.cancel()
        self._observed.end(asyncio.CancelledError())

    def __del__(self) -> None:
        self._call.cancel()
        self._observed.end(asyncio.CancelledError())


def _seconds(timeout: float | None) -> float:
    left = deadline.remaining()
    if left is None:
        return DEFAULT_SECONDS if timeout is None else timeout
    seconds = left - MARGIN_SECONDS
    if seconds <= 0:
        raise DeadlineExceeded("the deadline of the request has passed")
    return seconds if timeout is None else min(seconds, timeout)
