"""The retriever over gRPC."""

from __future__ import annotations

from typing import Any, cast

from ragmesh.common.v1 import search_pb2
from ragmesh.retriever.v1 import retriever_pb2, retriever_pb2_grpc
from ragmesh_gateway.domain.answer import Found, Question
from ragmesh_gateway.server import convert
from ragmesh_servicekit.channel import MeshChannel


class RetrieverClient:
    """Satisfies domain.ports.Retriever. The channel turns errors into MeshError and carries deadline and identity."""

    def __init__(self, channel: MeshChannel) -> None:
        self._search = retriever_pb2_grpc.RetrieverServiceStub(cast(Any, channel)).Search

    async def search(self, question: Question) -> Found[search_pb2.Hit]:
        return convert.found(await self.call(convert.retriever_request(question)))

    async def call(self, request: retriever_pb2.SearchRequest) -> retriever_pb2.SearchResponse:
        reply: retriever_pb2.SearchResponse = await cast(Any, self._search)(request)
        return reply
