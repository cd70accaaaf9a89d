"""Questions that were embedded before: their vectors, from the cache. Documents are embedded once and pass through."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from opentelemetry.trace import SpanKind

from ragmesh_servicekit.telemetry import metrics
from ragmesh_servicekit.telemetry.tracing import span


class Cache(Protocol):
    """Bytes by key; a cache that is down is empty."""

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]: ...
    async def set_many(self, values: Mapping[str, bytes]) -> None: ...


class QueryEmbedder(Protocol):
    @property
    def model_id(self) -> str: ...
    @property
    def dimension(self) -> int: ...
    async def embed_query(self, text: str) -> NDArray[np.float32]: ...


class CachedQueries:
    """An embedder of questions over another. The key is a hash of model and text, so the cache holds no text."""

    def __init__(self, embedder: QueryEmbedder, cache: Cache) -> None:
        self._embedder = embedder
        self._cache = cache

    @property
    def model_id(self) -> str:
        """The embedder's."""
        return self._embedder.model_id

    async def embed_query(self, text: str) -> NDArray[np.float32]:
        """(dimension,), unit norm; the same as the embedder's."""
        key = hashlib.blake2b(f"{self._embedder.model_id}\n{text}".encode(), digest_size=16).hexdigest()
        (found,) = await self._cache.get_many([key])
        if found is not None and len(found) == 4 * self._embedder.dimension:
            metrics.QUERY_EMBEDDINGS.labels("hit").inc()
            return np.frombuffer(found, dtype=np.float32)
        metrics.QUERY_EMBEDDINGS.labels("miss").inc()
        with span("embeddings.query", kind=SpanKind.INTERNAL, ragmesh_model=self._embedder.model_id):
            vector = await self._embedder.embed_query(text)
        await self._cache.set_many({key: vector.astype(np.float32).tobytes()})
        return vector
