"""Channels from one service of the mesh to another.

A channel spreads calls over the replicas behind its target, repeats calls that the contract marks repeatable, and finds
out within seconds that a peer hangs. Each call made through it carries what is left of the deadline, an identity token
for the peer and the trace, and what it raises is a MeshError. That is done by `MeshChannel`, which wraps the four call
factories that generated stubs use: simpler than four client interceptors, and cancellation passes through untouched.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import grpc.aio
from google.protobuf.descriptor import ServiceDescriptor

from ragmesh.common.v1 import options_pb2
from ragmesh_servicekit import deadline, identity
from ragmesh_servicekit.errors import DeadlineExceeded, MeshError
from ragmesh_servicekit.status import error_of_call
from ragmesh_servicekit.telemetry import metrics, tracing
from ragmesh_servicekit.tokens import METADATA_KEY, TokenMinter

MARGIN_SECONDS = 0.05
"""Kept back for the way home, so that the caller hears DEADLINE_EXCEEDED from us and not from its own clock."""

DEFAULT_SECONDS = 30.0
MESSAGE_BYTES = 20 * 1024 * 1024
REPEATABLE = {options_pb2.IDEMPOTENCY_READ, options_pb2.IDEMPOTENCY_REPEATABLE}


def repeatable_methods(*services: ServiceDescriptor) -> list[dict[str, str]]:
    """The names, as a service config has them, of methods that may be sent again. Of those only calls with one reply:
    a stream that has begun cannot be repeated."""
    return [
        {"service": service.full_name, "method": method.name}
        for service in services
        for method in service.methods
        if method.GetOptions().Extensions[options_pb2.method].idempotency in REPEATABLE
        and not method.client_streaming
        and not method.server_streaming
    ]


def service_config(repeatable: list[dict[str, str]]) -> str:
    """round_robin; at most 3 attempts on UNAVAILABLE for repeatable methods, within the deadline, and a budget that a
    failing replica does not exhaust but an outage does (reliability figures: docs/operations.md)."""
    config: dict[str, Any] = {"loadBalancingConfig": [{"round_robin": {}}]}
    if repeatable:
        config["methodConfig"] = [
            {
                "name": repeatable,
                "retryPolicy": {
                    "maxAttempts": 3,
                    "initialBackoff": "0.05s",
                    "maxBackoff": "1s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ]
        config["retryThrottling"] = {"maxTokens": 1000, "tokenRatio": 1}
    return json.dumps(config)


def open_channel(target: str, role: str, minter: TokenMinter, *services: ServiceDescriptor) -> MeshChannel:
    """A channel to `target` (`dns:///name:port`, `ipv4:1.2.3.4:1,1.2.3.5:1`). `role` names the peer: the audience of
    its tokens, and what errors call it. Must be made inside the running loop; close it."""
    options = [
        ("grpc.service_config", service_config(repeatable_methods(*services))),
        ("grpc.enable_retries", 1),
        ("grpc.max_receive_message_length", MESSAGE_BYTES),
        ("grpc.max_send_message_length", MESSAGE_BYTES),
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.ping_timeout_ms", 3_000),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2_000),
        ("grpc.dns_min_time_between_resolutions_ms", 5_000),
        ("grpc.enable_http_proxy", 0),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    return MeshChannel(grpc.aio.insecure_channel(target, options), role, minter)


class MeshChannel:
    """A channel for generated stubs. Replies: a coroutine for calls with one, a `ReplyStream` for calls with many."""

    def __init__(self, channel: grpc.aio.Channel, role: str, minter: TokenMinter) -> None:
        self._channel = channel
        self._role = role
        self._minter = minter

    async def close(self) -> None:
        """End calls in flight and close."""
        await self._channel.close(None)

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        return self._single(method, self._channel.unary_unary(method, *args, **kwargs))

    def stream_unary(self, method: str, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        return self._single(method, self._channel.stream_unary(method, *args, **kwargs))

    def unary_stream(self, method: str, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        return self._many(method, self._channel.unary_stream(method, *args, **kwargs))

    def stream_stream(self, method: str, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        return self._many(method, self._channel.stream_stream(method, *args, **kwargs))

    def _single(self, method: str, call: Any) -> Callable[..., Any]:
        async def single(request: Any, *, timeout: float | None = None) -> Any:
            with self._observed(method):
                return await call(request, timeout=_seconds(timeout), metadata=self._metadata())

        return single

    def _many(self, method: str, call: Any) -> Callable[..., ReplyStream]:
        def many(request: Any, *, timeout: float | None = None) -> ReplyStream:
            async def replies() -> AsyncIterator[Any]:
                with self._observed(method):
                    running = call(request, timeout=_seconds(timeout), metadata=self._metadata())
                    try:
                        async for reply in running:
                            yield reply
                    finally:
                        running.cancel()  # without effect when it has ended

            return ReplyStream(replies())

        return many

    def _metadata(self) -> grpc.aio.Metadata:
        metadata = grpc.aio.Metadata(*tracing.inject({}).items())
        caller = identity.current.get()
        if caller is not None:
            metadata.add(METADATA_KEY, self._minter.mint(caller, self._role))
        return metadata

    @contextmanager
    def _observed(self, method: str) -> Iterator[None]:
        """Span, metrics, and the errors of gRPC as MeshError. Cancellation passes through and is not an error."""
        started, code = time.perf_counter(), "OK"
        try:
            with tracing.span(method.lstrip("/"), rpc_system="grpc", rpc_method=method.lstrip("/")):
                try:
                    yield
                except grpc.aio.AioRpcError as error:
                    if error.code() is grpc.StatusCode.CANCELLED:
                        raise asyncio.CancelledError from error
                    raise error_of_call(error, self._role) from error
        except MeshError as error:
            code = error.code
            raise
        except (asyncio.CancelledError, GeneratorExit):
            code = "CANCELLED"
            raise
        finally:
            metrics.CLIENT_CALLS.labels(method, code).inc()
            metrics.CLIENT_SECONDS.labels(method).observe(time.perf_counter() - started)


class ReplyStream(AsyncIterable[Any]):
    """The replies of a call. Leaving it, by `aclose`, by the end of the task or by an error, cancels the call."""

    def __init__(self, replies: AsyncIterator[Any]) -> None:
        self._replies = replies

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._replies

    async def aclose(self) -> None:
        close = getattr(self._replies, "aclose", None)
        if close is not None:
            await close()


def _seconds(timeout: float | None) -> float:
    left = deadline.remaining()
    if left is None:
        return DEFAULT_SECONDS if timeout is None else timeout
    seconds = left - MARGIN_SECONDS
    if seconds <= 0:
        raise DeadlineExceeded("the deadline of the request has passed")
    return seconds if timeout is None else min(seconds, timeout)
