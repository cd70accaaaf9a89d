"""What the retriever needs of the world, as narrow as it can be said.

Every call may raise Unavailable or DeadlineExceeded; the legs of a search turn those two into a declared absence,
and let every other error through.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ragmesh_backends.model.collection import Collection, IndexRef
from ragmesh_backends.model.document import DocumentVersion, ScoredChunk
from ragmesh_backends.model.graph import Link
from ragmesh_backends.model.search import SearchFilter
from ragmesh_retriever.domain.results import Part, SearchMode, Timing


class Vectors(Protocol):
    """Chunks by meaning and by words. Lists are sorted by raw score, highest first, without duplicates; nothing
    found is an empty list. `where` is enforced by the store. A vector is set when `with_vectors` asks for it."""

    async def dense(
        self,
        index: IndexRef,
        vector: NDArray[np.float32],
        limit: int,
        *,
        where: SearchFilter,
        with_vectors: bool = False,
    ) -> list[ScoredChunk]:
        """The `limit` chunks nearest to `vector` (dimension,); the score is the cosine, -1 to 1."""
        ...

    async def bm25(
        self, index: IndexRef, text: str, limit: int, *, where: SearchFilter, with_vectors: bool = False
    ) -> list[ScoredChunk]:
        """The `limit` chunks with the highest BM25 score; a chunk without a word of `text` is not among them."""
        ...

    async def fetch(
        self, index: IndexRef, chunk_ids: Sequence[str], *, where: SearchFilter, with_vectors: bool = True
    ) -> list[ScoredChunk]:
        """The chunks of these ids that exist and that `where` lets through, in any order; the score means nothing."""
        ...


class Graph(Protocol):
    """Which chunk mentions what another is about."""

    async def links(self, index: IndexRef, chunk_ids: Sequence[str], limit_per_chunk: int = 50) -> list[Link]:
        """What these chunks mention, at most `limit_per_chunk` links each; unknown ids have none."""
        ...

    async def about(self, index: IndexRef, entity_keys: Sequence[str], limit: int) -> list[Link]:
        """The chunks that are about one of these keys; `source_chunk_id` is empty. Unknown keys have none."""
        ...


class Embedder(Protocol):
    """The embedding model that is configured. model_id: as collections name the one that made their vectors."""

    @property
    def model_id(self) -> str: ...
    async def embed_query(self, text: str) -> NDArray[np.float32]:
        """The unit vector (dimension,) of a question."""
        ...


class Records(Protocol):
    """The record of what exists."""

    async def get_collection(self, tenant: str, collection_id: str) -> Collection:
        """The collection; NotFound (COLLECTION_NOT_FOUND) when the tenant has none of that id."""
        ...

    async def hidden_versions(self, index: IndexRef) -> frozenset[DocumentVersion]:
        """Every version of the index that readers must not see, by the record."""
        ...


class Meter(Protocol):
    """Is told how searches went. Never fails, never waits."""

    def searched(self, timings: Sequence[Timing], missing: Sequence[Part]) -> None:
        """The steps of a search, however it ended, and the parts that did not answer it."""
        ...

    def found(self, mode: SearchMode, hits: int) -> None:
        """What a search that ended well has found."""
        ...


class Visibility(Protocol):
    """The versions that are being written or swept."""

    async def hidden(self, index: IndexRef) -> frozenset[DocumentVersion] | None:
        """The hidden versions; None when the set was lost and the record must be asked."""
        ...
