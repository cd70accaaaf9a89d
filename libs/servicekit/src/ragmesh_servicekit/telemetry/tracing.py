"""Spans around what leaves the process, and the W3C context that ties processes together."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_PROPAGATOR = TraceContextTextMapPropagator()
AttributeValue = str | int | float | bool


@contextmanager
def span(
    name: str,
    *,
    kind: SpanKind = SpanKind.CLIENT,
    parent: Context | None = None,
    links: tuple[Link, ...] = (),
    **attributes: AttributeValue,
) -> Iterator[Span]:
    """A span around a call. An error sets its status and leaves only the error's type, never its text; cancellation is
    not an error but is noted. Attribute names: `_` becomes `.` (`rpc_method` is `rpc.method`)."""
    tracer = trace.get_tracer("ragmesh")
    dotted = {key.replace("_", "."): value for key, value in attributes.items()}
    with tracer.start_as_current_span(
        name,
        context=parent,
        kind=kind,
        attributes=dotted,
        links=links,
        record_exception=False,
        set_status_on_exception=False,
    ) as current:
        try:
            yield current
        except (asyncio.CancelledError, Exception) as error:
            _tell(current, error)
            raise


def _tell(span: Span, error: BaseException) -> None:
    if isinstance(error, (asyncio.CancelledError, GeneratorExit)):
        span.set_attribute("cancelled", True)
        return
    span.set_attribute("error.type", type(error).__name__)
    span.set_status(Status(StatusCode.ERROR))


def begin(name: str, *, kind: SpanKind = SpanKind.CLIENT, **attributes: AttributeValue) -> Span:
    """A child of the current span that is not made current: for a call that lives on between the steps of whoever
    reads it. End it with `finish`."""
    dotted = {key.replace("_", "."): value for key, value in attributes.items()}
    return trace.get_tracer("ragmesh").start_span(name, kind=kind, attributes=dotted)


def finish(span: Span, error: BaseException | None = None) -> None:
    """End a span that `begin` began, with what `span` would say of the error."""
    if error is not None:
        _tell(span, error)
    span.end()


def inject(carrier: dict[str, str], span: Span | None = None) -> dict[str, str]:
    """Add traceparent and tracestate of `span`, by default the current one."""
    _PROPAGATOR.inject(carrier, None if span is None else trace.set_span_in_context(span))
    return carrier


def extract(carrier: Mapping[str, str]) -> Context:
    """The remote parent that a carrier names."""
    return _PROPAGATOR.extract(carrier)


def current_traceparent() -> str:
    """The traceparent of the current span, "" when there is none."""
    return inject({}).get("traceparent", "")


def link_to(traceparent: str) -> tuple[Link, ...]:
    """A link to a remote span, for work that goes on after the request that caused it; () when there is none."""
    context = trace.get_current_span(extract({"traceparent": traceparent})).get_span_context() if traceparent else None
    return (Link(context),) if context is not None and context.is_valid else ()


def current_ids() -> tuple[str, str]:
    """trace id and span id of the current span in hexadecimal, empty when there is none."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return "", ""
    return f"{context.trace_id:032x}", f"{context.span_id:016x}"
