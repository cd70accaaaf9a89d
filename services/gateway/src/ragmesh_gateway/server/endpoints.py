"""The one way into the public API. Both surfaces call it: gRPC with the metadata of the call, REST with its headers.

Every call is authenticated, checked for scope and validated here, by the rules that the contract states, and then
handed to the handler of its method with the caller's identity in place. So a rule holds on every surface alike.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import Any

import structlog
from google.protobuf.message import Message

from ragmesh_backends.model.key import KeyRecord
from ragmesh_gateway.domain.keys import KeyRing
from ragmesh_gateway.server.contract import Method
from ragmesh_servicekit import deadline, identity
from ragmesh_servicekit.errors import (
    Internal,
    InvalidArgument,
    PermissionDenied,
    Reason,
    Unauthenticated,
    Unavailable,
)
from ragmesh_servicekit.telemetry import metrics
from ragmesh_servicekit.validation import refuse_unknown_fields, validate

log = structlog.get_logger()

UnaryHandler = Callable[[Any], Awaitable[Any]]
StreamHandler = Callable[[Any], AsyncGenerator[Any, None]]
UploadHandler = Callable[[AsyncIterator[Any]], Awaitable[Any]]
Handler = UnaryHandler | StreamHandler | UploadHandler


_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")

ANSWERS = frozenset({"/ragmesh.gateway.v1.AskService/Ask"})
"""Calls with one reply that wait for a model: they may take as long as a stream."""


@dataclass(frozen=True, slots=True)
class Call:
    """What a surface knows of a call: the `Authorization` header or metadata, and the request id."""

    authorization: str
    request_id: str

    @classmethod
    def of(cls, authorization: str, request_id: str) -> Call:
        """The call with the caller's request id when it is 1 to 128 visible ASCII characters, else with a new one: it
        goes into headers and logs."""
        return cls(authorization, request_id if _REQUEST_ID.fullmatch(request_id) else secrets.token_hex(8))


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

    async def admit(self, method: Method, call: Call) -> Admission:
        """Tell who is calling and whether they may. It comes before a surface reads a body, so that nobody without a
        key makes us do so. Raises Unauthenticated, PermissionDenied, Unavailable."""
        structlog.contextvars.bind_contextvars(request_id=call.request_id)  # for all that this task logs from here on
        record = await self._key_of(call)
        if method.scope not in record.scopes:
            metrics.KEY_CHECKS.labels("lacks_scope").inc()
            raise PermissionDenied(f"the key lacks the scope {method.scope}", metadata={"scope": method.scope})
        metrics.KEY_CHECKS.labels("accepted").inc()
        caller = identity.Identity(record.tenant, record.principal, record.groups, record.scopes, call.request_id)
        streamed = method.client_streaming or method.server_streaming or method.path in ANSWERS
        seconds = self._limits.stream_seconds if streamed else self._limits.unary_seconds
        return Admission(method.path, self._handlers[method.path], caller, seconds)

    async def _key_of(self, call: Call) -> KeyRecord:
        """The record of the caller's key. A key without the scope that it needs is not refused here."""
        if not call.authorization:
            metrics.KEY_CHECKS.labels("missing").inc()
            raise Unauthenticated(
                "authorization: no key was sent; send `Authorization: Bearer <key>`", reason=Reason.KEY_MISSING
            )
        scheme, _, key = call.authorization.partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            metrics.KEY_CHECKS.labels("refused").inc()
            raise Unauthenticated("authorization: must be `Bearer <key>`", reason=Reason.KEY_INVALID)
        try:
            return await self._ring.authenticate(key.strip())
        except Unauthenticated:
            metrics.KEY_CHECKS.labels("refused").inc()
            raise
        except Unavailable:
            metrics.KEY_CHECKS.labels("unavailable").inc()
            raise


class Admission:
    """The right to make one call of one method."""

    def __init__(self, path: str, handler: Any, caller: identity.Identity, cap_seconds: float) -> None:
        self._path = path
        self._handler = handler
        self._started = time.perf_counter()
        self._caller = caller
        self._cap_seconds = cap_seconds

    async def unary(self, request: Message | None) -> Message:
        """One request, one reply. Raises MeshError."""
        checked = _checked(request)
        with self._as_caller():
            reply: Message = await self._handler(checked)
            return reply

    async def stream(self, request: Message | None) -> AsyncGenerator[Message, None]:
        """One request, many replies. Raises MeshError. Closing it ends the work behind it. Whoever iterates it must do
        so, and close it, in one task: who is asking stands in that task's context while it runs."""
        checked = _checked(request)
        with self._as_caller(), metrics.OPEN_STREAMS.labels(self._path).track_inprogress():
            async with aclosing(self._handler(checked)) as replies:
                first = True
                async for reply in replies:
                    if first:
                        first = False
                        waited = time.perf_counter() - self._started
                        metrics.FIRST_REPLY_SECONDS.labels(self._path).observe(waited)
                    yield reply

    async def upload(self, requests: AsyncIterator[Message | None]) -> Message:
        """Many requests, one reply. Raises MeshError."""

        async def checked() -> AsyncIterator[Message]:
            async for request in requests:
                yield _checked(request)

        with self._as_caller():
            reply: Message = await self._handler(checked())
            return reply

    @contextmanager
    def _as_caller(self) -> Iterator[None]:
        token = identity.current.set(self._caller)
        try:
            with deadline.scope(self._cap_seconds):
                yield
        except Unauthenticated as error:
            # The caller was admitted above: an inner service refuses our token, which is no fault of the caller's.
            log.error("identity_refused", reason=error.reason)
            raise Internal("the services of the mesh do not accept each other's identity") from error
        finally:
            identity.current.reset(token)


def _checked(request: Message | None) -> Message:
    """The request when it keeps the contract's rules. None stands for bytes that are not a message of the method."""
    if request is None:
        raise InvalidArgument("the request is not a message of this method", reason=Reason.MALFORMED_REQUEST)
    refuse_unknown_fields(request)
    validate(request)
    return request
