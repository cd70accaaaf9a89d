"""RetrieverService: convert in, one use case, convert out."""

from __future__ import annotations

from typing import Any

import grpc.aio

from ragmesh.retriever.v1 import retriever_pb2, retriever_pb2_grpc
from ragmesh_retriever.domain.search import Search
from ragmesh_retriever.server import convert
from ragmesh_servicekit import identity


class RetrieverServicer(retriever_pb2_grpc.RetrieverServiceServicer):
    """retriever.v1.RetrieverService."""

    def __init__(self, search: Search) -> None:
        self._search = search

    async def Search(
        self, request: retriever_pb2.SearchRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> retriever_pb2.SearchResponse:
        caller = identity.require()
        result = await self._search.run(caller.tenant, convert.search_request(request, caller.groups))
        return convert.search_response(result, with_timings=request.explain)
