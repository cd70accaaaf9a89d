"""Client spans around calls to the store. They carry counts, never text."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace

_tracer = trace.get_tracer("ragmesh.backends")


@contextmanager
def span(name: str, **attributes: int | str) -> Iterator[None]:
    """A span `vectors.<name>`; an exception inside marks it as failed."""
    with _tracer.start_as_current_span(
        f"vectors.{name}",
        kind=trace.SpanKind.CLIENT,
        attributes={"db.system.name": "milvus", **{f"ragmesh.{key}": value for key, value in attributes.items()}},
    ):
        yield
