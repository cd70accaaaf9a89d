"""The public gRPC surface: one generic handler for each method of the contract, all of them calls to the endpoints."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import Message

from ragmesh_gateway.server.contract import Method
from ragmesh_gateway.server.endpoints import Call, Endpoints


def add_public_api(server: grpc.aio.Server, endpoints: Endpoints) -> None:
    """Register every public method."""
    services: dict[str, dict[str, grpc.RpcMethodHandler[Any, Any]]] = {}
    for method in endpoints.methods:
        services.setdefault(method.service, {})[method.name] = _handler(method, endpoints)
    handlers = [grpc.method_handlers_generic_handler(service, methods) for service, methods in services.items()]
    server.add_generic_rpc_handlers(tuple(handlers))


def _handler(method: Method, endpoints: Endpoints) -> grpc.RpcMethodHandler[Any, Any]:
    codecs: dict[str, Any] = {"request_deserializer": method.request.FromString, "response_serializer": _serialize}
    if method.client_streaming:

        async def upload(requests: AsyncIterator[Message], context: grpc.aio.ServicerContext[Any, Any]) -> Message:
            return await endpoints.upload(method, requests, _call(context))

        return grpc.stream_unary_rpc_method_handler(upload, **codecs)
    if method.server_streaming:

        async def stream(request: Message, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Message]:
            async for reply in endpoints.stream(method, request, _call(context)):
                yield reply

        return grpc.unary_stream_rpc_method_handler(stream, **codecs)

    async def unary(request: Message, context: grpc.aio.ServicerContext[Any, Any]) -> Message:
        return await endpoints.unary(method, request, _call(context))

    return grpc.unary_unary_rpc_method_handler(unary, **codecs)


def _call(context: grpc.aio.ServicerContext[Any, Any]) -> Call:
    metadata = {str(key): value for key, value in context.invocation_metadata() or ()}
    return Call(_text(metadata.get("authorization")), _text(metadata.get("x-request-id")) or secrets.token_hex(8))


def _text(value: str | bytes | None) -> str:
    return value.decode("ascii", "replace") if isinstance(value, bytes) else (value or "")


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()
