"""The server's interceptor: concerns around a handler, adapted to the four arities in one place.

Outermost first: the registry of running handlers; the rich status that anything raised becomes here and nowhere else;
the span, metrics and the access line; then the identity, the deadline and the handler.

Every handler runs as one coroutine of the call's own task. Replies of an async generator are written to the context
here, because grpc's own loop over a generator does not close it when the call is cancelled while a reply is being sent:
its `finally` would run later, in a task and a context of its own that nobody awaits.
docs/adr/20261121-own-grpc-telemetry.md says why spans are not left to opentelemetry-instrumentation-grpc.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import grpc
import grpc.aio
import structlog
from opentelemetry.trace import SpanKind

from ragmesh_servicekit import deadline, identity
from ragmesh_servicekit.errors import DeadlineExceeded, MeshError, Reason
from ragmesh_servicekit.interceptors.registry import HandlerRegistry
from ragmesh_servicekit.status import abort, to_mesh_error
from ragmesh_servicekit.telemetry import metrics, tracing
from ragmesh_servicekit.tokens import METADATA_KEY, TokenVerifier

log = structlog.get_logger()

PREVIOUS_ATTEMPTS = "grpc-previous-rpc-attempts"
"""What grpc adds to a call that it sends again; nothing on the client's side tells of it."""

UNGUARDED = ("/grpc.health.v1.Health/", "/grpc.reflection.")
"""Answered without an identity, a deadline and an access line: probes and, when it is switched on, reflection."""

DEFAULT_SECONDS = 60.0
DEFAULT_STREAM_SECONDS = 300.0
_CANCELLATION_SECONDS = 0.005
_BROKEN_SECONDS = 1.0
_CLOCKS_DIFFER_SECONDS = 0.02  # a client's deadline passes there a little earlier than here

if TYPE_CHECKING:  # grpc's classes take no type arguments at run time
    Context = grpc.aio.ServicerContext[Any, Any]
    _ServerInterceptor = grpc.aio.ServerInterceptor[Any, Any]
else:
    Context = grpc.aio.ServicerContext
    _ServerInterceptor = grpc.aio.ServerInterceptor


@dataclass(slots=True)
class ServerCall:
    """One call as the concerns see it, and how it ended."""

    method: str
    metadata: dict[str, str]
    started: float = field(default_factory=time.perf_counter)
    caller: identity.Identity | None = None
    code: str = "OK"
    reason: Reason | None = None

    @property
    def unguarded(self) -> bool:
        return self.method.startswith(UNGUARDED)


class MeshServerInterceptor(_ServerInterceptor):
    """`verifier`: None on the gateway, which authenticates in its own pipeline. `default_seconds` and
    `default_stream_seconds`: the deadline of a call that names none, without and with a stream in it."""

    def __init__(
        self,
        registry: HandlerRegistry,
        verifier: TokenVerifier | None,
        default_seconds: float = DEFAULT_SECONDS,
        default_stream_seconds: float = DEFAULT_STREAM_SECONDS,
    ) -> None:
        self._registry = registry
        self._verifier = verifier
        self._default_seconds = default_seconds
        self._default_stream_seconds = default_stream_seconds

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any]]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any]:
        handler = cast("grpc.RpcMethodHandler[Any, Any] | None", await continuation(handler_call_details))
        # grpc answers UNIMPLEMENTED for a method that nobody handles.
        return self._wrap(handler_call_details.method, handler) if handler is not None else cast(Any, None)

    def _wrap(self, method: str, handler: grpc.RpcMethodHandler[Any, Any]) -> grpc.RpcMethodHandler[Any, Any]:
        reads, many = handler.request_streaming, handler.response_streaming
        arity = f"{'stream' if reads else 'unary'}_{'stream' if many else 'unary'}"
        seconds = self._default_stream_seconds if reads or many else self._default_seconds
        around = self._around(method, getattr(handler, arity), reads, seconds)
        make = getattr(grpc, f"{arity}_rpc_method_handler")
        return cast(
            "grpc.RpcMethodHandler[Any, Any]",
            make(
                around,
                request_deserializer=handler.request_deserializer,
                response_serializer=handler.response_serializer,
            ),
        )

    def _around(self, method: str, behaviour: Any, reads: bool, default_seconds: float) -> Any:
        writes = inspect.isasyncgenfunction(behaviour)

        async def handle(request: Any, context: Context) -> Any:
            if reads:
                request = _whole(request)
            call = ServerCall(method, _metadata(context))
            with self._registry.running():
                try:
                    with nullcontext() if call.unguarded else _observed(call, context), self._admitted(call):
                        async with _bounded(call, context, default_seconds):
                            if writes:
                                return await _write_all(behaviour(request, context), context, call)
                            return await behaviour(request, context)
                except MeshError as error:
                    await abort(context, error)

        return handle

    @contextmanager
    def _admitted(self, call: ServerCall) -> Iterator[None]:
        """The caller's identity, verified, for as long as the handler runs. The request id stays on every later line
        that the call's own task logs: what went wrong is logged when the handler, and with it the identity, has gone.
        """
        if self._verifier is not None and not call.unguarded:
            call.caller = self._verifier.verify(call.metadata.get(METADATA_KEY, ""))
            structlog.contextvars.bind_contextvars(request_id=call.caller.request_id)
        with identity.acting_as(call.caller):
            yield


async def _whole(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """The requests of a call. To grpc's reader a client that went away looks like one that has finished, until the
    cancellation that follows has been delivered; without a moment's wait a handler takes half an upload for all of it.
    """
    async for request in requests:
        yield request
    await asyncio.sleep(_CANCELLATION_SECONDS)


async def _write_all(replies: Any, context: Context, call: ServerCall) -> None:
    first = True
    async with aclosing(replies):
        async for reply in replies:
            if first and not call.unguarded:
                metrics.FIRST_REPLY_SECONDS.labels(call.method).observe(time.perf_counter() - call.started)
            first = False
            try:
                await context.write(reply)
            except grpc.aio.InternalError:  # the client is gone; the cancellation that says so may come a moment later,
                await asyncio.sleep(_BROKEN_SECONDS)  # and would cut the handler's clean-up short
                raise


@asynccontextmanager
async def _bounded(call: ServerCall, context: Context, default_seconds: float) -> AsyncIterator[None]:
    """End the handler at its deadline. A client's is kept by grpc, which cancels the handler; a second timer would
    cancel it again in the midst of its clean-up. The default one is kept here."""
    if call.unguarded:  # a watch stays open
        yield
        return
    left = cast("float | None", context.time_remaining())
    timer = asyncio.timeout(default_seconds if left is None else None)
    try:
        with deadline.scope(default_seconds if left is None else left):
            async with timer:
                yield
    except TimeoutError as error:
        if not timer.expired():
            raise
        raise DeadlineExceeded("the deadline of the request has passed") from error


def _metadata(context: Context) -> dict[str, str]:
    return {
        str(key): value.decode("latin-1") if isinstance(value, bytes) else value
        for key, value in context.invocation_metadata() or ()
    }


@contextmanager
def _observed(call: ServerCall, context: Context) -> Iterator[None]:
    """Anything raised as a MeshError, in a server span; RED metrics and one access line."""
    in_flight = metrics.SERVER_IN_FLIGHT.labels(call.method)
    if PREVIOUS_ATTEMPTS in call.metadata:
        metrics.SERVER_RETRIED_CALLS.labels(call.method).inc()
    name = call.method.lstrip("/")
    parent = tracing.extract(call.metadata)
    with tracing.span(name, kind=SpanKind.SERVER, parent=parent, rpc_system="grpc", rpc_method=name) as span:
        in_flight.inc()
        try:
            yield
        except asyncio.CancelledError:
            left = cast("float | None", context.time_remaining())
            call.code = "CANCELLED" if left is None or left > _CLOCKS_DIFFER_SECONDS else "DEADLINE_EXCEEDED"
            raise
        except grpc.aio.AbortError:  # a handler of grpc's own, such as health
            call.code = context.code().name
            raise
        except grpc.aio.InternalError:  # the call broke while a reply was being sent
            call.code = "CANCELLED"
            raise
        except Exception as error:
            failure = to_mesh_error(error)
            call.code, call.reason = failure.code, failure.reason
            if failure is error:
                raise
            raise failure from error
        finally:
            in_flight.dec()
            seconds = time.perf_counter() - call.started
            span.set_attribute("rpc.response.status_code", call.code)
            metrics.SERVER_CALLS.labels(call.method, call.code).inc()
            metrics.SERVER_SECONDS.labels(call.method).observe(seconds)
            if call.reason is not None:
                metrics.FAILED_CALLS.labels(call.reason).inc()
            caller = call.caller
            log.info(
                "call",
                method=call.method,
                code=call.code,
                reason=call.reason,
                milliseconds=round(seconds * 1000, 2),
                **({"tenant": caller.tenant, "request_id": caller.request_id} if caller else {}),
            )
