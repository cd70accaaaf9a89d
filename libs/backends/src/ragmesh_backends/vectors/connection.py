"""One gRPC channel to Milvus, and what its failures mean to the mesh.

No retries here: the mesh retries at one place only. The channel reconnects by itself when the store comes back.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

import grpc
import grpc.aio
import structlog
from google.protobuf.message import Message

from ragmesh_backends.vectors.contract import SERVICE, common_pb2
from ragmesh_servicekit.errors import Internal, MeshError, NotFound, Reason, Unavailable
from ragmesh_servicekit.resilience.guard import Guard

log = structlog.get_logger()

DEPENDENCY = "vectors"

MESSAGE_BYTES = 64 * 1024 * 1024
"""A reply with 16,384 hits of 4 KB fits; Milvus' own bound is 100 MB or more."""

_COLLECTION_NOT_FOUND = 100
_NOT_LOADED = (101, 103, 106)
_BUSY = (1, 2, 3, 4, 8)
"""Service not ready, unavailable, out of memory, too many requests, rate limit."""
_NOT_AUTHENTICATED, _NOT_PERMITTED = 1400, 1401
_LOGINS = {grpc.StatusCode.UNAUTHENTICATED: "authentication", grpc.StatusCode.PERMISSION_DENIED: "permission"}
"""A wrong token is refused by a server's interceptors, so it is a status of gRPC."""
_SEGMENT_CORE = range(2000, 2100)
"""Faults of the store's C++ core: not ours, and the other legs of a search do not share them."""


Replied = TypeVar("Replied", bound=Message)


class NotLoaded(Exception):
    """The collection is not in the store's memory. Never leaves the adapter: the call is repeated after a load."""


class StoreRefused(Exception):
    """The store understood and said no, with this code and reason. Never leaves the adapter."""

    def __init__(self, method: str, status: common_pb2.Status) -> None:
        super().__init__(method)
        self.method = method
        self.code = status.code
        self.reason = status.reason
        self.retriable = status.retriable

    def translated(self) -> MeshError:
        """What the caller is told. The reason stays in the log: it names internals."""
        log.error("vectors.refused", method=self.method, code=self.code, reason=self.reason[:300])
        if self.code in (_NOT_AUTHENTICATED, _NOT_PERMITTED):
            return _refusal("authentication" if self.code == _NOT_AUTHENTICATED else "permission")
        if self.retriable or self.code in _BUSY or self.code in _SEGMENT_CORE:
            return Unavailable.dependency(DEPENDENCY)
        return Internal("the vector store refused a call that the mesh should not have made")


def _refusal(cause: str) -> Unavailable:
    """It answers, and refuses until its operator has changed something: no breaker opens for that."""
    if cause == "authentication":
        return Unavailable.dependency(DEPENDENCY, "the vectors store refuses the token of the mesh", cause=cause)
    return Unavailable.dependency(
        DEPENDENCY, "the vectors store does not permit the mesh's user what it needs", cause=cause
    )


def absent() -> NotFound:
    """What is said of an index that the store does not have."""
    return NotFound("the collection has no index in the vector store", reason=Reason.COLLECTION_NOT_FOUND)


class MilvusConnection:
    """A channel that is opened by the first call, in the loop of that call.

    address: `unix:/path`, `host:port`, `http://host:port` or `https://host:port` (TLS with the system's roots).
    guard: of that Milvus; None makes one without a breaker.
    """

    def __init__(self, address: str, *, timeout_seconds: float, token: str = "", guard: Guard | None = None) -> None:
        self._address = address
        self._guard = guard or Guard(DEPENDENCY)
        self._timeout_seconds = timeout_seconds
        self._metadata = (("authorization", base64.b64encode(token.encode()).decode()),) if token else None
        self._channel: grpc.aio.Channel | None = None
        self._closed = False

    def _open(self) -> grpc.aio.Channel:
        if self._closed:
            raise Unavailable.dependency(DEPENDENCY, "this process is closing its connection to the vector store")
        if self._channel is None:
            options: list[tuple[str, int]] = [
                ("grpc.enable_retries", 0),
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.min_reconnect_backoff_ms", 100),
                ("grpc.max_reconnect_backoff_ms", 1000),
                ("grpc.max_send_message_length", MESSAGE_BYTES),
                ("grpc.max_receive_message_length", MESSAGE_BYTES),
            ]
            if not self._address.startswith("unix:"):
                # A server that vanished without a word is noticed within 13 s; a Unix socket tells at once.
                options += [("grpc.keepalive_time_ms", 10_000), ("grpc.http2.ping_timeout_ms", 3_000)]
            scheme, _, rest = self._address.rpartition("://")
            if scheme == "https":
                self._channel = grpc.aio.secure_channel(rest, grpc.ssl_channel_credentials(), options=options)
            else:
                self._channel = grpc.aio.insecure_channel(rest, options=options)
        return self._channel

    @asynccontextmanager
    async def bounded(self, cap_seconds: float | None = None, *, probe: bool = False) -> AsyncIterator[None]:
        """Send the calls inside through the guard together, and let no error of the store out untranslated. probe: a
        sign of life, which an open breaker lets through."""
        async with self._guard.call(cap_seconds or self._timeout_seconds, probe=probe):
            try:
                yield
            except StoreRefused as refused:
                raise refused.translated() from refused
            except NotLoaded as error:
                raise Unavailable.dependency(DEPENDENCY) from error

    async def call(self, method: str, request: Message, reply_type: type[Replied]) -> Replied:
        """One RPC, to be made inside `bounded`. Raises NotFound for a collection that is not there, NotLoaded,
        StoreRefused for any other refusal, Unavailable when the store does not answer."""
        rpc = self._open().unary_unary(
            f"/{SERVICE}/{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=reply_type.FromString,
        )
        try:
            reply: Replied = await rpc(request, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            log.warning("vectors.unreachable", method=method, code=error.code().name)
            if error.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED):
                raise Internal("the vector store does not know a call that the mesh makes") from error
            if error.code() in _LOGINS:
                raise _refusal(_LOGINS[error.code()]) from error
            raise Unavailable.dependency(DEPENDENCY) from error
        except grpc.aio.UsageError as error:  # closed under our feet
            raise Unavailable.dependency(DEPENDENCY) from error
        status = reply if isinstance(reply, common_pb2.Status) else _status(reply)
        if status.code == 0 and status.error_code == 0:
            return reply
        if status.code == _COLLECTION_NOT_FOUND:
            raise absent()
        if status.code in _NOT_LOADED:
            raise NotLoaded(method)
        raise StoreRefused(method, status)

    async def close(self) -> None:
        """Idempotent. Calls in flight end as Unavailable."""
        self._closed = True
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close(grace=None)


def _status(reply: Message) -> common_pb2.Status:
    status = getattr(reply, "status", None)
    return status if isinstance(status, common_pb2.Status) else common_pb2.Status()
