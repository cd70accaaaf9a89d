"""What REST shows of itself: a server span, RED metrics and one access line for each request, as gRPC has them."""

from __future__ import annotations

import time
from contextlib import ExitStack
from types import TracebackType

import structlog
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect

from ragmesh_gateway.rest.problem import status_of
from ragmesh_servicekit.errors import MeshError
from ragmesh_servicekit.status import is_cancelled, to_mesh_error
from ragmesh_servicekit.telemetry import metrics, tracing

log = structlog.get_logger()

CLIENT_CLOSED_REQUEST = 499
"""nginx's convention for a client that went away; nobody receives it, logs and metrics show it."""


class Observed:
    """Around one request. `method` names the RPC once it is known; `finish` says how it ended."""

    def __init__(self, verb: str, headers: Headers, request_id: str) -> None:
        self._verb = verb
        self._request_id = request_id
        self._parent = tracing.extract({"traceparent": headers.get("traceparent", "")})
        self._stack = ExitStack()
        self._rpc = "unknown"
        self._status = CLIENT_CLOSED_REQUEST
        self._reason: str | None = None
        self._span: Span | None = None
        self._in_flight = metrics.HTTP_IN_FLIGHT.labels(self._rpc)
        self._started = time.perf_counter()

    def __enter__(self) -> Observed:
        self._in_flight.inc()
        self._span = self._stack.enter_context(
            tracing.span(
                f"HTTP {self._verb}", kind=SpanKind.SERVER, parent=self._parent, http_request_method=self._verb
            )
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._span is not None
        seconds = time.perf_counter() - self._started
        self._in_flight.dec()
        self._span.set_attribute("http.response.status_code", self._status)
        if self._status >= 500:
            self._span.set_status(Status(StatusCode.ERROR))
        metrics.HTTP_CALLS.labels(self._rpc, str(self._status)).inc()
        metrics.HTTP_SECONDS.labels(self._rpc).observe(seconds)
        if self._reason is not None:
            metrics.FAILED_CALLS.labels(self._reason).inc()
        log.info(
            "request",
            method=self._rpc,
            status=self._status,
            reason=self._reason,
            milliseconds=round(seconds * 1000, 2),
            request_id=self._request_id,
        )
        self._stack.__exit__(kind, error, traceback)

    @property
    def trace_id(self) -> str:
        return tracing.current_ids()[0]

    def method(self, path: str) -> None:
        """The RPC that the request is for."""
        assert self._span is not None
        self._rpc = path
        self._in_flight.dec()
        self._in_flight = metrics.HTTP_IN_FLIGHT.labels(path)
        self._in_flight.inc()
        self._span.update_name(path.lstrip("/"))

    def finish(self, status: int, error: MeshError | None = None) -> None:
        """The status that was sent."""
        self._status = status
        self._reason = error.reason if error is not None else None

    def finish_stream(self, error: BaseException | None) -> None:
        """How a stream that had begun ended: the status was sent long before, so this is what it would have been."""
        if error is None:
            self.finish(200)
        elif is_cancelled(error) or isinstance(error, ClientDisconnect):
            self.finish(CLIENT_CLOSED_REQUEST)
        else:
            failure = to_mesh_error(error)
            self.finish(status_of(failure), failure)
