"""The one way into the public API. Both surfaces call it: gRPC with the metadata of the call, REST with its headers.

Every call is authenticated, checked for scope and validated here, by the rules that the contract states, and then
handed to the handler of its method with the caller's identity in place. So a rule holds on every surface alike.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from ragmesh_gateway.domain.keys import KeyRing
from ragmesh_gateway.server.contract import Method
from ragmesh_servicekit import deadline, identity
from ragmesh_servicekit.errors import PermissionDenied, Reason, Unauthenticated
from ragmesh_servicekit.validation import refuse_unknown_fields, validate

UnaryHandler = Callable[[Any], Awaitable[Any]]
StreamHandler = Callable[[Any], AsyncGenerator[Any, None]]
UploadHandler = Callable[[AsyncIterator[Any]], Awaitable[Any]]
Handler = UnaryHandler | StreamHandler | UploadHandler


@dataclass(frozen=True, slots=True)
class Call:
    """What a surface knows of a call: the `Authorization` header or metadata, and the request id."""

    authorization: str
    request_id: str


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a call may take when the client names no deadline, and the most a client may ask for."""

    unary_seconds: float = 30.0
    stream_seconds: float = 300.0


class Endpoints:
    """The handlers of the public methods behind authentication, scopes and validation."""

    def __init__(
        self, methods: tuple[Method, ...], handlers: Mapping[str, Handler], ring: KeyRing, limits: Limits | None = None
    ) -> None:
        missing = [m.path for m in methods if m.path not in handlers]
        if missing:
            raise ValueError(f"no handler for {', '.join(missing)}")
        self.methods = methods
        self._handlers: dict[str, Any] = dict(handlers)
        self._ring = ring
        self._limits = limits or Limits()

    async def unary(self, method: Method, request: Message, call: Call) -> Message:
        """One request, one reply. Raises MeshError."""
        caller = await self._admit(method, call)
        self._check(request)
        with self._as(caller, self._limits.unary_seconds):
            reply: Message = await self._handlers[method.path](request)
            return reply

    async def stream(self, method: Method, request: Message, call: Call) -> AsyncGenerator[Message, None]:
        """One request, many replies. Raises MeshError. Closing it ends the work behind it."""
        caller = await self._admit(method, call)
        self._check(request)
        with self._as(caller, self._limits.stream_seconds):
            async with aclosing(self._handlers[method.path](request)) as replies:
                async for reply in replies:
                    yield reply

    async def upload(self, method: Method, requests: AsyncIterator[Message], call: Call) -> Message:
        """Many requests, one reply. Raises MeshError."""
        caller = await self._admit(method, call)

        async def checked() -> AsyncIterator[Message]:
            async for request in requests:
                self._check(request)
                yield request

        with self._as(caller, self._limits.stream_seconds):
            reply: Message = await self._handlers[method.path](checked())
            return reply

    async def _admit(self, method: Method, call: Call) -> identity.Identity:
        if not call.authorization:
            raise Unauthenticated(
                "authorization: no key was sent; send `Authorization: Bearer <key>`", reason=Reason.KEY_MISSING
            )
        scheme, _, key = call.authorization.partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise Unauthenticated("authorization: must be `Bearer <key>`", reason=Reason.KEY_INVALID)
        record = await self._ring.authenticate(key.strip())
        if method.scope not in record.scopes:
            raise PermissionDenied(f"the key lacks the scope {method.scope}", metadata={"scope": method.scope})
        return identity.Identity(record.tenant, record.principal, record.groups, record.scopes, call.request_id)

    def _check(self, request: Message) -> None:
        refuse_unknown_fields(request)
        validate(request)

    @contextmanager
    def _as(self, caller: identity.Identity, cap_seconds: float) -> Iterator[None]:
        token = identity.current.set(caller)
        try:
            with deadline.scope(cap_seconds):
                yield
        finally:
            identity.current.reset(token)
