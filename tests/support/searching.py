"""A retriever over small stores, with one place to break each of them."""

from __future__ import annotations

import time
from collections.abc import Callable

from ragmesh_backends.model.document import ChunkRow, DocumentVersion
from ragmesh_retriever.domain.catalogue import Catalogue
from ragmesh_retriever.domain.ports import Meter
from ragmesh_retriever.domain.results import SearchRequest, SearchResult
from ragmesh_retriever.domain.search import Search
from support.small_stores import (
    Faults,
    SmallEmbedder,
    SmallGraph,
    SmallRecords,
    SmallVectors,
    SmallVisibility,
    collection,
)


class Bench:
    """search() asks collection `docs` of tenant `acme`; hidden versions are those of the live set, None when it
    was lost."""

    def __init__(
        self,
        rows: list[ChunkRow],
        *,
        hidden: frozenset[DocumentVersion] | None = frozenset(),
        unready: frozenset[DocumentVersion] = frozenset(),
        clock: Callable[[], float] = time.monotonic,
        meter: Meter | None = None,
    ) -> None:
        self.faults = Faults()
        docs = collection()
        self.vectors = SmallVectors(rows, self.faults)
        self.records = SmallRecords({(docs.tenant, docs.collection_id): docs}, unready, self.faults)
        self.visibility = SmallVisibility(hidden, self.faults)
        self.search_case = Search(
            vectors=self.vectors,
            graph=SmallGraph(rows, self.faults),
            embedder=SmallEmbedder(self.faults),
            records=self.records,
            visibility=self.visibility,
            catalogue=Catalogue(self.records, clock=clock),
            meter=meter,
        )

    async def search(self, request: SearchRequest) -> SearchResult:
        return await self.search_case.run("acme", request)


def documents_of(result: SearchResult) -> list[str]:
    return [hit.chunk.document_id for hit in result.hits]
