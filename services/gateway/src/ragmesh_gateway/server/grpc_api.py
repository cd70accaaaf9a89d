"""The public gRPC surface: one generic handler for each method of the contract, all of them calls to the endpoints."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message

from ragmesh_gateway.server.contract import Method
from ragmesh_gateway.server.endpoints import Call, Endpoints

if TYPE_CHECKING:  # grpc's class takes no type arguments at run time
    Context = grpc.aio.ServicerContext[Any, Any]
else:
    Context = grpc.aio.ServicerContext

REQUEST_ID = "x-request-id"


def add_public_api(server: grpc.aio.Server, endpoints: Endpoints) -> None:
    """Register every public method."""
    services: dict[str, dict[str, grpc.RpcMethodHandler[Any, Any]]] = {}
    for method in endpoints.methods:
        services.setdefault(method.service, {})[method.name] = _handler(method, endpoints)
    handlers = [grpc.method_handlers_generic_handler(service, methods) for service, methods in services.items()]
    server.add_generic_rpc_handlers(tuple(handlers))


def _handler(method: Method, endpoints: Endpoints) -> grpc.RpcMethodHandler[Any, Any]:
    codecs: dict[str, Any] = {
        "request_deserializer": _deserializer(method.request),
        "response_serializer": _serialize,
    }
    if method.client_streaming:

        async def upload(requests: AsyncIterator[Message | None], context: Context) -> Message:
            return await (await endpoints.admit(method, _call(context))).upload(requests)

        return grpc.stream_unary_rpc_method_handler(upload, **codecs)
    if method.server_streaming:

        async def stream(request: Message | None, context: Context) -> None:
            # Not a generator: one that is cancelled while grpc writes a reply would be closed from another task.
            call = _call(context)
            await context.send_initial_metadata(((REQUEST_ID, call.request_id),))
            admission = await endpoints.admit(method, call)
            async with aclosing(admission.stream(request)) as replies:
                async for reply in replies:
                    await context.write(reply)

        return grpc.unary_stream_rpc_method_handler(stream, **codecs)

    async def unary(request: Message | None, context: Context) -> Message:
        return await (await endpoints.admit(method, _call(context))).unary(request)

    return grpc.unary_unary_rpc_method_handler(unary, **codecs)


def _call(context: Context) -> Call:
    """The call, whose request id is returned behind it, so that a caller that sent none can quote it; before the first
    reply of a stream as well. Not before a single reply: what has headers is never repeated by a client's channel, not
    even when this process is killed or refuses it."""
    metadata = {str(key): value for key, value in context.invocation_metadata() or ()}
    call = Call.of(_text(metadata.get("authorization")), _text(metadata.get(REQUEST_ID)))
    context.set_trailing_metadata(((REQUEST_ID, call.request_id),))
    return call


def _text(value: str | bytes | None) -> str:
    return value.decode("ascii", "replace") if isinstance(value, bytes) else (value or "")


def _deserializer(kind: type[Message]) -> Callable[[bytes], Message | None]:
    """Bytes that are no such message are None, which the pipeline refuses in its own words; grpc would answer INTERNAL
    with a traceback in the log."""

    def deserialize(data: bytes) -> Message | None:
        try:
            return kind.FromString(data)
        except DecodeError:
            return None

    return deserialize


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()
