"""Small, complete stores in memory for the retriever's ports: they rank, filter and link for real, and can be told to
fail or to hang."""

from __future__ import annotations

import asyncio
import math
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from ragmesh_backends.model.collection import Collection, IndexRef, IndexSpec
from ragmesh_backends.model.document import Chunk, ChunkRow, DocumentVersion, ScoredChunk
from ragmesh_backends.model.graph import Link
from ragmesh_backends.model.search import SearchFilter
from ragmesh_backends.model.tokens import MAX_ENTITY_TOKENS, entity_key, words
from ragmesh_servicekit.errors import NotFound, Reason

DIMENSION = 1024
INDEX = IndexRef("acme", "acme_docs_1")


@dataclass(slots=True)
class Faults:
    """What the next calls of a name do: raise (`fail`) or never return (`hang`). calls counts
    them all; hung is set when the first one hangs."""

    fail: dict[str, Exception] = field(default_factory=dict)
    hang: set[str] = field(default_factory=set)
    calls: Counter[str] = field(default_factory=Counter)
    hung: asyncio.Event = field(default_factory=asyncio.Event)

    async def at(self, name: str) -> None:
        self.calls[name] += 1
        if name in self.fail:
            raise self.fail[name]
        if name in self.hang:
            self.hung.set()
            await asyncio.Event().wait()


def embed(text: str) -> NDArray[np.float32]:
    """A bag of hashed words as a unit vector: texts that share words are near."""
    vector = np.zeros(DIMENSION, dtype=np.float32)
    for word in words(text):
        vector[zlib.crc32(word.encode()) % DIMENSION] += 1.0
    norm = float(np.linalg.norm(vector))
    return vector / np.float32(norm) if norm else vector


def passage(
    document_id: str, title: str, text: str, *, version: int = 1, ordinal: int = 0, access: Sequence[str] = ()
) -> ChunkRow:
    chunk = Chunk(f"{document_id}:{version}:{ordinal}", document_id, version, ordinal, text, title, (), 0, len(text))
    return ChunkRow(chunk, embed(f"{title} {text}"), tuple(access))


@dataclass(slots=True)
class SmallVectors:
    rows: list[ChunkRow]
    faults: Faults = field(default_factory=Faults)
    limits: list[int] = field(default_factory=list)

    def _seen(self, where: SearchFilter) -> list[ChunkRow]:
        return [
            row
            for row in self.rows
            if (not row.access or set(row.access) & set(where.groups))
            and (not where.document_ids or row.chunk.document_id in where.document_ids)
        ]

    @staticmethod
    def _ranked(scored: list[tuple[float, ChunkRow]], limit: int, with_vectors: bool) -> list[ScoredChunk]:
        scored.sort(key=lambda pair: (-pair[0], pair[1].chunk.chunk_id))
        return [ScoredChunk(row.chunk, score, row.vector if with_vectors else None) for score, row in scored[:limit]]

    async def dense(
        self,
        index: IndexRef,
        vector: NDArray[np.float32],
        limit: int,
        *,
        where: SearchFilter,
        with_vectors: bool = False,
    ) -> list[ScoredChunk]:
        self.limits.append(limit)
        await self.faults.at("dense")
        scored = [(float(row.vector @ vector), row) for row in self._seen(where)]
        return self._ranked(scored, limit, with_vectors)

    async def bm25(
        self, index: IndexRef, text: str, limit: int, *, where: SearchFilter, with_vectors: bool = False
    ) -> list[ScoredChunk]:
        await self.faults.at("bm25")
        bags = [Counter(words(f"{row.chunk.title} {row.chunk.text}")) for row in self.rows]
        average = sum(bag.total() for bag in bags) / max(len(bags), 1)
        scores: dict[str, float] = {}
        for word in dict.fromkeys(words(text)):
            frequency = sum(1 for bag in bags if word in bag)
            idf = math.log1p((len(bags) - frequency + 0.5) / (frequency + 0.5))
            for row, bag in zip(self.rows, bags, strict=True):
                if count := bag[word]:
                    saturation = count * 2.2 / (count + 1.2 * (0.25 + 0.75 * bag.total() / average))
                    scores[row.chunk.chunk_id] = scores.get(row.chunk.chunk_id, 0.0) + idf * saturation
        scored = [(scores[row.chunk.chunk_id], row) for row in self._seen(where) if row.chunk.chunk_id in scores]
        return self._ranked(scored, limit, with_vectors)

    async def fetch(
        self, index: IndexRef, chunk_ids: Sequence[str], *, where: SearchFilter, with_vectors: bool = True
    ) -> list[ScoredChunk]:
        await self.faults.at("fetch")
        return [
            ScoredChunk(row.chunk, 0.0, row.vector if with_vectors else None)
            for row in self._seen(where)
            if row.chunk.chunk_id in set(chunk_ids)
        ]


@dataclass(slots=True)
class SmallGraph:
    rows: list[ChunkRow]
    faults: Faults = field(default_factory=Faults)

    def _about(self) -> dict[str, list[Chunk]]:
        keys: dict[str, list[Chunk]] = {}
        for row in self.rows:
            if key := entity_key(row.chunk.title):
                keys.setdefault(key, []).append(row.chunk)
        return keys

    def _mentions(self, text: str, keys: dict[str, list[Chunk]]) -> list[str]:
        tokens = words(text)
        runs = (
            " ".join(tokens[start:end])
            for start in range(len(tokens))
            for end in range(start + 1, min(start + MAX_ENTITY_TOKENS, len(tokens)) + 1)
        )
        return list(dict.fromkeys(run for run in runs if run in keys))

    async def links(self, index: IndexRef, chunk_ids: Sequence[str], limit_per_chunk: int = 50) -> list[Link]:
        await self.faults.at("links")
        keys = self._about()
        mentions = {row.chunk.chunk_id: self._mentions(row.chunk.text, keys) for row in self.rows}
        mentioned = Counter(key for found in mentions.values() for key in found)
        links = []
        for chunk_id in chunk_ids:
            found = mentions.get(chunk_id, [])
            links += [
                Link(chunk_id, key, c.chunk_id, c.document_id, c.version, len(found), mentioned[key])
                for key in found
                for c in keys[key]
            ][:limit_per_chunk]
        return links

    async def about(self, index: IndexRef, entity_keys: Sequence[str], limit: int) -> list[Link]:
        await self.faults.at("about")
        keys = self._about()
        return [
            Link("", key, c.chunk_id, c.document_id, c.version, 0, 0) for key in entity_keys for c in keys.get(key, ())
        ][:limit]


@dataclass(slots=True)
class SmallEmbedder:
    faults: Faults = field(default_factory=Faults)
    model_id: str = "bag-of-words"

    async def embed_query(self, text: str) -> NDArray[np.float32]:
        await self.faults.at("embed")
        return embed(text)


@dataclass(slots=True)
class SmallRecords:
    collections: dict[tuple[str, str], Collection] = field(default_factory=dict)
    unready: frozenset[DocumentVersion] = frozenset()
    faults: Faults = field(default_factory=Faults)

    async def get_collection(self, tenant: str, collection_id: str) -> Collection:
        await self.faults.at("get_collection")
        found = self.collections.get((tenant, collection_id))
        if found is None:
            raise NotFound("no such collection", reason=Reason.COLLECTION_NOT_FOUND)
        return found

    async def hidden_versions(self, index: IndexRef) -> frozenset[DocumentVersion]:
        await self.faults.at("hidden_versions")
        return self.unready


@dataclass(slots=True)
class SmallVisibility:
    versions: frozenset[DocumentVersion] | None = frozenset()
    faults: Faults = field(default_factory=Faults)

    async def hidden(self, index: IndexRef) -> frozenset[DocumentVersion] | None:
        await self.faults.at("hidden")
        return self.versions


def collection(collection_id: str = "docs", tenant: str = "acme", dimension: int = DIMENSION) -> Collection:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    spec = IndexSpec("bag-of-words", dimension)
    return Collection(tenant, collection_id, collection_id, INDEX, spec, "g1", now, now)
