"""A named call of Redis: a span around it, bounded, its errors ours."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ragmesh_backends.redis.client import bounded
from ragmesh_servicekit.telemetry.tracing import span

CALL_SECONDS = 3.0


@asynccontextmanager
async def calling(role: str, operation: str, cap_seconds: float = CALL_SECONDS) -> AsyncIterator[None]:
    """See `bounded`; `operation` names the span (`redis.submit`)."""
    with span(f"redis.{operation}", db_system="redis"):
        async with bounded(role, cap_seconds):
            yield
