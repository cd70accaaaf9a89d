"""The retriever over gRPC."""

from __future__ import annotations

import grpc.aio

from ragmesh.common.v1 import search_pb2
from ragmesh.retriever.v1 import retriever_pb2, retriever_pb2_grpc
from ragmesh_gateway.domain.answer import Found, Question
from ragmesh_gateway.server import convert


class RetrieverClient:
    """Satisfies domain.ports.Retriever. The channel turns errors into MeshError and carries deadline and identity."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub: retriever_pb2_grpc.RetrieverServiceAsyncStub = retriever_pb2_grpc.RetrieverServiceStub(channel)

    async def search(self, question: Question) -> Found[search_pb2.Hit]:
        return convert.found(await self.call(convert.retriever_request(question)))

    async def call(self, request: retriever_pb2.SearchRequest) -> retriever_pb2.SearchResponse:
        return await self._stub.Search(request)
