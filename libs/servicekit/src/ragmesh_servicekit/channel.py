"""Channels from one service of the mesh to another.

A channel spreads calls over the replicas behind its target, repeats calls that the contract marks repeatable, and finds
out within seconds that a peer hangs. Each call made through it carries what is left of the deadline, an identity token
for the peer and the trace, and what it raises is a MeshError. That is done by `MeshChannel`, which wraps the four call
factories that generated stubs use: simpler than four client interceptors, and cancellation passes through untouched.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
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
from ragmesh_servicekit.connections import Connection, Connections, OnConnection
from ragmesh_servicekit.errors import DeadlineExceeded, MeshError, Unavailable
from ragmesh_servicekit.fallback import Fallback
from ragmesh_servicekit.resilience.hedge import Hedge
from ragmesh_servicekit.status import error_of_call
from ragmesh_servicekit.streamed_requests import StreamedRequests, listen, remembering, settled
from ragmesh_servicekit.telemetry import metrics, tracing
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
    repeatable = repeatable_methods(*services)

    def connect(way: str, health: str, names: list[tuple[str, Any]]) -> Connections:
        options = channel_options(service_config(repeatable, health_service=health))
        if tls is None:
            return Connections(grpc.aio.insecure_channel(way, options), role)

        def secure(certificate: Certificate) -> grpc.aio.Channel:
            return grpc.aio.secure_channel(way, channel_credentials(certificate), [*options, *names])

        connections = Connections(secure(tls.current), role)
        tls.on_change(lambda certificate: connections.renew(secure(certificate)))
        return connections

    first = connect(target, role, name_options(target, role))
    second = None
    if fallback:
        # Not asked for its health: behind one address there is no other to take instead of one that drains, and serves.
        second = connect(fallback, "", name_options(target, role, fallback))
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
        return _hedged(single, Hedge(method)) if method in self._hedged else single

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

    def _metadata(self, observed: ObservedCall) -> grpc.aio.Metadata:
        metadata = grpc.aio.Metadata(*tracing.inject({}, observed.span).items())
        caller = identity.current.get()
        if caller is not None:
            metadata.add(METADATA_KEY, self._minter.mint(caller, self._role))
        return metadata


def _paths(services: tuple[ServiceDescriptor, ...], kinds: frozenset[Any]) -> list[str]:
    return [f"/{method.containing_service.full_name}/{method.name}" for method in methods_of(services, kinds)]


def _hedged(single: Callable[..., Coroutine[Any, Any, Any]], hedge: Hedge) -> Callable[..., Any]:
    async def hedged(request: Any, *, timeout: float | None = None) -> Any:
        return await hedge.run(lambda: single(request, timeout=timeout))

    return hedged


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


class ObservedCall:
    """One call made, on a connection that it has begun on: its span, its metrics, and what its errors mean to whoever
    made it."""

    def __init__(self, method: str, role: str, connection: Connection) -> None:
        self.ended = False
        self._connection = connection
        self.span = tracing.begin(method.lstrip("/"), rpc_system="grpc", rpc_method=method.lstrip("/"))
        self._method = method
        self._role = role
        self._started = time.perf_counter()
        metrics.CLIENT_IN_FLIGHT.labels(method).inc()

    def end(self, error: BaseException | None = None) -> None:
        """Say how it ended, the first time."""
        if self.ended:
            return
        self.ended = True
        self._connection.end()
        if error is None:
            self._connection.refusals.accepted()
        metrics.CLIENT_IN_FLIGHT.labels(self._method).dec()
        code = "OK"
        if error is not None:
            code = error.code if isinstance(error, MeshError) else "CANCELLED"
        self.span.set_attribute("rpc.response.status_code", code)
        tracing.finish(self.span, error)
        metrics.CLIENT_CALLS.labels(self._method, code).inc()
        metrics.CLIENT_SECONDS.labels(self._method).observe(time.perf_counter() - self._started)

    @contextmanager
    def step(self, requests: Any) -> Iterator[None]:
        """Around each await of the call: what grpc raises as a MeshError; cancellation of the caller as it is."""
        try:
            yield
        except grpc.aio.AioRpcError as error:
            self._connection.refusals.failed(error)
            failure = error_of_call(error, self._role)
            self.end(failure)
            raise failure from error
        except asyncio.CancelledError as error:
            ours = self._why(requests)
            self.end(ours or error)
            if ours is None:
                raise
            raise ours from error
        except BaseException as error:
            self.end(error)
            raise

    def _why(self, requests: Any) -> Exception | None:
        """grpc raises CancelledError for whatever ends a call on this side; but when nobody cancelled this task it must
        not look so: the requests failed, or the channel was closed."""
        task = asyncio.current_task()
        if task is None or task.cancelling():
            return None
        failed = requests.error if isinstance(requests, StreamedRequests) else None
        return failed or Unavailable.dependency(self._role, f"the call to the {self._role} was broken off; try again")


def _seconds(timeout: float | None) -> float:
    left = deadline.remaining()
    if left is None:
        return DEFAULT_SECONDS if timeout is None else timeout
    seconds = left - MARGIN_SECONDS
    if seconds <= 0:
        raise DeadlineExceeded("the deadline of the request has passed")
    return seconds if timeout is None else min(seconds, timeout)
