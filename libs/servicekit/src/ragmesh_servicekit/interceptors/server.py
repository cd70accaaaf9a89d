"""The server's interceptor: concerns around a handler, adapted to the four arities in one place.

Outermost first: the registry of running handlers, the span, metrics and the access log; then the deadline, the identity
and the handler. What the handler raises becomes a rich status here and nowhere else.
docs/adr/20261121-own-grpc-telemetry.md says why spans are not left to opentelemetry-instrumentation-grpc.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import grpc
import grpc.aio
import structlog
from opentelemetry.trace import SpanKind

from ragmesh_servicekit import deadline, identity
from ragmesh_servicekit.errors import DeadlineExceeded, MeshError
from ragmesh_servicekit.status import abort, to_mesh_error
from ragmesh_servicekit.telemetry import metrics, tracing
from ragmesh_servicekit.tokens import METADATA_KEY, TokenVerifier

log = structlog.get_logger()

UNGUARDED = ("/grpc.health.v1.Health/", "/grpc.reflection.")
"""Answered without an identity: probes and, when it is switched on, reflection."""

if TYPE_CHECKING:  # grpc's classes take no type arguments at run time
    Context = grpc.aio.ServicerContext[Any, Any]
    _ServerInterceptor = grpc.aio.ServerInterceptor[Any, Any]
else:
    Context = grpc.aio.ServicerContext
    _ServerInterceptor = grpc.aio.ServerInterceptor


class HandlerRegistry:
    """The tasks that run handlers. grpc's `stop` may return while an aborted handler still runs its `finally`
    (grpc #37239), so shutdown awaits this as well."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    @contextmanager
    def running(self) -> Iterator[None]:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            yield
        finally:
            self._tasks.discard(task)

    async def wait(self, seconds: float) -> bool:
        """Wait for all of them, then cancel the rest. True when none had to be."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=seconds)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=1)
            return not late
        return True


@dataclass(slots=True)
class ServerCall:
    """One call as the concerns see it."""

    method: str
    metadata: dict[str, str]
    started: float = field(default_factory=time.perf_counter)
    error: MeshError | None = None
    cancelled: bool = False
    caller: identity.Identity | None = None

    @property
    def code(self) -> str:
        if self.cancelled:
            return "CANCELLED"
        return self.error.code if self.error is not None else "OK"


class MeshServerInterceptor(_ServerInterceptor):
    """`verifier`: None on the gateway, which authenticates in its own pipeline. `default_seconds`: the deadline of a
    call that names none."""

    def __init__(
        self, registry: HandlerRegistry, verifier: TokenVerifier | None, default_seconds: float = 60.0
    ) -> None:
        self._registry = registry
        self._verifier = verifier
        self._default_seconds = default_seconds

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any]]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any]:
        handler = cast("grpc.RpcMethodHandler[Any, Any] | None", await continuation(handler_call_details))
        # grpc answers UNIMPLEMENTED for a method that nobody handles.
        return self._wrap(handler_call_details.method, handler) if handler is not None else cast(Any, None)

    def _wrap(self, method: str, handler: grpc.RpcMethodHandler[Any, Any]) -> grpc.RpcMethodHandler[Any, Any]:
        codecs: dict[str, Any] = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        if handler.request_streaming and handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(self._streaming(method, handler.stream_stream), **codecs)
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(self._streaming(method, handler.unary_stream), **codecs)
        if handler.request_streaming:
            return grpc.stream_unary_rpc_method_handler(self._single(method, handler.stream_unary), **codecs)
        return grpc.unary_unary_rpc_method_handler(self._single(method, handler.unary_unary), **codecs)

    def _single(self, method: str, behaviour: Any) -> Any:
        """A handler with one reply, or one that writes to its context."""

        async def single(request: Any, context: Context) -> Any:
            call = _call(method, context)
            async with AsyncExitStack() as stack:
                self._enter(stack, call)
                try:
                    with self._guarded(call, context):
                        return await behaviour(request, context)
                except BaseException as error:
                    await self._end(call, context, error)

        return single

    def _streaming(self, method: str, behaviour: Any) -> Any:
        if not inspect.isasyncgenfunction(behaviour):
            return self._single(method, behaviour)

        async def streaming(request: Any, context: Context) -> AsyncIterator[Any]:
            call = _call(method, context)
            async with AsyncExitStack() as stack:
                self._enter(stack, call)
                try:
                    with self._guarded(call, context):
                        replies = behaviour(request, context)
                        stack.push_async_callback(replies.aclose)
                        async for reply in replies:
                            yield reply
                except BaseException as error:
                    await self._end(call, context, error)

        return streaming

    def _enter(self, stack: AsyncExitStack, call: ServerCall) -> None:
        stack.enter_context(self._registry.running())
        parent = tracing.extract(call.metadata)
        stack.enter_context(
            tracing.span(
                call.method.lstrip("/"),
                kind=SpanKind.SERVER,
                parent=parent,
                rpc_system="grpc",
                rpc_method=call.method.lstrip("/"),
            )
        )
        stack.enter_context(_observed(call))

    @contextmanager
    def _guarded(self, call: ServerCall, context: Context) -> Iterator[None]:
        if self._verifier is not None and not call.method.startswith(UNGUARDED):
            call.caller = self._verifier.verify(call.metadata.get(METADATA_KEY, ""))
        token = identity.current.set(call.caller)
        left = cast("float | None", context.time_remaining())
        seconds = self._default_seconds if left is None else left
        if seconds <= 0:
            raise DeadlineExceeded("the deadline of the request has passed before it began")
        try:
            with deadline.scope(None if call.method.startswith(UNGUARDED) else seconds):  # a watch stays open
                yield
        finally:
            identity.current.reset(token)

    async def _end(self, call: ServerCall, context: Context, error: BaseException) -> None:
        """Raise what ends the call: cancellation as it is, anything else as a rich status."""
        if isinstance(error, (asyncio.CancelledError, GeneratorExit)):
            call.cancelled = True
            raise error
        if isinstance(error, grpc.aio.AbortError):  # a handler of grpc's own, such as health
            raise error
        call.error = to_mesh_error(error)
        await abort(context, call.error)


def _call(method: str, context: Context) -> ServerCall:
    metadata = {
        str(key): value.decode("latin-1") if isinstance(value, bytes) else value
        for key, value in context.invocation_metadata() or ()
    }
    return ServerCall(method, metadata)


@contextmanager
def _observed(call: ServerCall) -> Iterator[None]:
    """RED metrics and one access line."""
    if call.method.startswith(UNGUARDED):
        yield
        return
    in_flight = metrics.SERVER_IN_FLIGHT.labels(call.method)
    in_flight.inc()
    try:
        yield
    finally:
        in_flight.dec()
        seconds = time.perf_counter() - call.started
        metrics.SERVER_CALLS.labels(call.method, call.code).inc()
        metrics.SERVER_SECONDS.labels(call.method).observe(seconds)
        log.info(
            "call",
            method=call.method,
            code=call.code,
            reason=call.error.reason if call.error is not None else None,
            milliseconds=round(seconds * 1000, 2),
            tenant=call.caller.tenant if call.caller else None,
            request_id=call.caller.request_id if call.caller else None,
        )
