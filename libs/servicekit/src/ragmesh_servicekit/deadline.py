"""The deadline of the request in hand.

gRPC for Python does not carry a deadline from a handler to the calls it makes, so the mesh does: the server
interceptor opens a `scope` with the handler's remaining time, adapters bound each await by `within`, and the
channel sends what is left less a margin. Pure: no gRPC here, so that the domain may use it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar

from ragmesh_servicekit.errors import TIMED_OUT, DeadlineExceeded, Unavailable

_deadline: ContextVar[float | None] = ContextVar("ragmesh_deadline", default=None)


def remaining() -> float | None:
    """Seconds left, never negative; None when the work in hand has no deadline."""
    at = _deadline.get()
    return None if at is None else max(0.0, at - time.monotonic())


def within(cap_seconds: float) -> float:
    """The seconds a step may take: its own cap, or less when the request has less left."""
    left = remaining()
    return cap_seconds if left is None else min(cap_seconds, left)


@contextmanager
def scope(seconds: float | None) -> Iterator[None]:
    """Bound everything inside by `seconds` from now; an outer, earlier deadline stays in force."""
    if seconds is None:
        yield
        return
    at = time.monotonic() + seconds
    outer = _deadline.get()
    token = _deadline.set(at if outer is None else min(at, outer))
    try:
        yield
    finally:
        with suppress(ValueError):  # an async generator may be ended by another task than began it, whose context
            _deadline.reset(token)  # never held the value


@asynccontextmanager
async def dependency(name: str, cap_seconds: float) -> AsyncIterator[None]:
    """Bound a call to a dependency. A time-out is DeadlineExceeded when the request itself ran out, and
    Unavailable naming the dependency when only the dependency's own cap, or its driver's, did."""
    left = remaining()
    timer = asyncio.timeout(within(cap_seconds))
    try:
        async with timer:
            yield
    except TimeoutError as error:
        if timer.expired() and left is not None and left <= cap_seconds:
            raise DeadlineExceeded("the deadline of the request has passed") from error
        raise Unavailable.dependency(name, cause=TIMED_OUT) from error
