"""Methods that concern documents are passed on to the ingestor as they are.

The contract gives such a method and its messages the same shape on both sides (tests/contract/protos holds them
together), so one handler serves them all: the bytes of the request are read as the ingestor's type. What differs in
name is in `RENAMED`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from ragmesh.common.v1 import document_pb2
from ragmesh.gateway.v1 import documents_pb2
from ragmesh.ingestor.v1 import ingestor_pb2
from ragmesh_gateway.server.contract import Method
from ragmesh_gateway.server.endpoints import Handler
from ragmesh_servicekit.channel import MeshChannel
from ragmesh_servicekit.errors import MeshError

RENAMED = {"UploadDocument": "SubmitDocument"}
FORWARDED_SERVICES = (
    "ragmesh.gateway.v1.CollectionService",
    "ragmesh.gateway.v1.DocumentService",
    "ragmesh.gateway.v1.JobService",
)
CREATE_DOCUMENT = "/ragmesh.gateway.v1.DocumentService/CreateDocument"


class IngestorForwarder:
    """Handlers that call the ingestor over `channel`, which carries deadline, identity and trace."""

    def __init__(self, channel: MeshChannel, methods: tuple[Method, ...]) -> None:
        self._channel = channel
        self._inner = ingestor_pb2.DESCRIPTOR.services_by_name["IngestorService"]
        self._methods = [m for m in methods if m.service in FORWARDED_SERVICES and m.path != CREATE_DOCUMENT]
        self._batch = self._unary(next(m for m in self._methods if m.name == "BatchCreateDocuments"))

    def handlers(self) -> Mapping[str, Handler]:
        result: dict[str, Handler] = {CREATE_DOCUMENT: self.create_document}
        for method in self._methods:
            if method.server_streaming:
                result[method.path] = self._stream(method)
            elif method.client_streaming:
                result[method.path] = self._upload(method)
            else:
                result[method.path] = self._unary(method)
        return result

    async def create_document(
        self, request: documents_pb2.CreateDocumentRequest
    ) -> documents_pb2.CreateDocumentResponse:
        """A document alone is a batch of one."""
        document = document_pb2.DocumentInput(
            document_id=request.document_id,
            title=request.title,
            text=request.text,
            media_type=request.media_type,
            metadata=request.metadata,
        )
        batch = documents_pb2.BatchCreateDocumentsRequest(
            collection_id=request.collection_id,
            documents=[document],
            batch_id=request.batch_id,
            request_id=request.request_id,
        )
        reply = await self._batch(batch)
        return documents_pb2.CreateDocumentResponse(job=reply.jobs[0])

    def _paths(self, method: Method) -> tuple[str, type[Message]]:
        inner = self._inner.methods_by_name[RENAMED.get(method.name, method.name)]
        return f"/{self._inner.full_name}/{inner.name}", GetMessageClass(inner.input_type)

    def _unary(self, method: Method) -> Any:
        path, _ = self._paths(method)
        call = self._channel.unary_unary(
            path, request_serializer=_serialize, response_deserializer=method.response.FromString
        )

        async def forward(request: Message) -> Any:
            return await call(request)

        return forward

    def _stream(self, method: Method) -> Any:
        path, _ = self._paths(method)
        call = self._channel.unary_stream(
            path, request_serializer=_serialize, response_deserializer=method.response.FromString
        )

        async def forward(request: Message) -> AsyncGenerator[Any, None]:
            async with aclosing(call(request)) as replies:
                async for reply in replies:
                    yield reply

        return forward

    def _upload(self, method: Method) -> Any:
        path, _ = self._paths(method)
        call = self._channel.stream_unary(
            path, request_serializer=_serialize, response_deserializer=method.response.FromString
        )

        async def forward(requests: AsyncIterator[Message]) -> Any:
            refused: list[MeshError] = []

            async def watched() -> AsyncIterator[Message]:
                try:
                    async for request in requests:
                        yield request
                except MeshError as error:
                    refused.append(error)
                    raise

            try:
                return await call(watched())
            except (MeshError, asyncio.CancelledError):
                if refused:  # grpc answers an error of its request iterator by cancelling the call
                    raise refused[0] from None
                raise

        return forward


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()
