"""Who is asking: the identity that the gateway vouches for, as plain data.

`tokens.py` signs and verifies it; the interceptor puts it in `current`, and the domain passes its tenant on
as an explicit argument. Pure: no gRPC and no cryptography here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Identity:
    """tenant: whose data; principal: the key or user; groups: for access lists; scopes: what it may do
    (`documents:write`); request_id: ties logs, traces and replies of one request together."""

    tenant: str
    principal: str
    groups: tuple[str, ...] = ()
    scopes: frozenset[str] = frozenset()
    request_id: str = ""


current: ContextVar[Identity | None] = ContextVar("ragmesh_identity", default=None)


@contextmanager
def acting_as(identity: Identity | None) -> Iterator[None]:
    """Work on behalf of `identity` inside."""
    token = current.set(identity)
    try:
        yield
    finally:
        with suppress(ValueError):  # an async generator may be ended by another task than began it, whose context
            current.reset(token)  # never held the value


def require() -> Identity:
    """The identity of the request in hand; a programming error when there is none."""
    identity = current.get()
    if identity is None:
        raise LookupError("no identity in this context: the identity interceptor has not run")
    return identity
