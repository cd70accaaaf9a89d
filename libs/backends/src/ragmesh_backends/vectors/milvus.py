"""MilvusVectors: the vector port on Milvus, the embedded milvus-lite 2.5 and a server alike.

Freshness. milvus-lite answers from what was written last. A Milvus server lets a search be behind by some seconds
unless it is asked to wait, and waiting costs a search up to 200 ms; so searches do not wait, and `insert` does: it
returns when a strong read has seen its last row. A second replica of the server's own query nodes may still be
behind for a moment; the ingestor's read-back and the visibility rule cover that.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ragmesh_backends.model.collection import IndexRef, IndexSpec
from ragmesh_backends.model.document import ChunkRow, DocumentVersion, ScoredChunk
from ragmesh_backends.model.search import SearchFilter
from ragmesh_backends.vectors import requests, schema
from ragmesh_backends.vectors.connection import DEPENDENCY, MilvusConnection, NotLoaded, StoreRefused, absent
from ragmesh_backends.vectors.contract import common_pb2, milvus_pb2
from ragmesh_backends.vectors.expressions import Expression, OneOf
from ragmesh_backends.vectors.keys import is_chunk_id, seen_by, version_key
from ragmesh_backends.vectors.loading import Loading
from ragmesh_backends.vectors.requests import VERSION_KEY
from ragmesh_backends.vectors.residency import Residency
from ragmesh_backends.vectors.rows import scored, slices, stored, upsert
from ragmesh_servicekit.errors import InvalidArgument, NotFound, Unavailable
from ragmesh_servicekit.resilience.guard import Guard
from ragmesh_servicekit.telemetry import metrics
from ragmesh_servicekit.telemetry.tracing import span

MAX_VERSIONS_PER_CALL = 256
MAX_HITS = 16_384
"""Milvus' bound of a search."""
WRITE_SECONDS_PER_TIMEOUT = 6
"""A slice of 500 rows takes longer than a search: its cap is this many time-outs."""

ODD_WEIGHT_REPEATS = 2
"""Of a search that the store refused for a reason that passes by itself: beside one writer, measured on milvus-lite
2.5.1, 37 of 19,734 without and 0 of 19,795 with them."""

Result = TypeVar("Result")


class MilvusVectors:
    """Chunks of many indexes, each in a collection of its own, so that no index changes the BM25 statistics of
    another. Safe for concurrent use from one event loop, the one of the first call.

    address: `unix:/path`, `host:port`, `http(s)://host:port`. timeout_seconds: cap of one operation (a slice of an
    insert may take six times that). max_loaded: collections this process keeps in the store's memory. guard: of that
    Milvus; None makes one without a breaker. load_seconds: cap of loading a collection that is not loaded; None: it is
    part of the operation that needs it. guest: of a process that works beside a mesh: what it found loaded is others',
    and never released by it.

    Every method raises Unavailable (dependency `vectors`) when the store is down, hung or overloaded,
    DeadlineExceeded when the request in hand ran out of time first, InvalidArgument for what the store cannot hold,
    and, but for create_index, drop_index and has_index, NotFound (COLLECTION_NOT_FOUND) when the index is not there,
    FailedPrecondition when a newer program made it.
    """

    def __init__(
        self,
        address: str,
        *,
        timeout_seconds: float = 5.0,
        max_loaded: int = 64,
        token: str = "",
        guard: Guard | None = None,
        load_seconds: float | None = None,
        guest: bool = False,
    ) -> None:
        self._connection = MilvusConnection(address, timeout_seconds=timeout_seconds, token=token, guard=guard)
        self._write_seconds = timeout_seconds * WRITE_SECONDS_PER_TIMEOUT
        self._load_seconds = load_seconds
        loading = Loading(self._connection, guest=guest)
        self._residency = Residency(max_loaded, load=loading.load, release=loading.release)

    async def ping(self) -> None:
        """Return when the store answers a call."""
        async with self._connection.bounded(probe=True):
            await self._has("_")

    async def close(self) -> None:
        """Idempotent."""
        await self._connection.close()

    async def create_index(self, index: IndexRef, spec: IndexSpec) -> None:
        """Make the collection and its search indexes; what is there already is left as it is."""
        requests.check_name(index.name)
        with span("vectors.create_index", db_system_name="milvus"):
            async with self._connection.bounded(self._write_seconds):
                if not await self._has(index.name):  # a server refuses a second one that differs in its description
                    request = schema.create_collection(index.name, spec)
                    await self._connection.call("CreateCollection", request, common_pb2.Status)
                for search_index in schema.create_indexes(index.name):
                    await self._connection.call("CreateIndex", search_index, common_pb2.Status)
                async with self._residency.using(index.name):
                    pass

    async def drop_index(self, index: IndexRef) -> None:
        """Delete the collection and every row of it; one that is not there is no error."""
        requests.check_name(index.name)
        with span("vectors.drop_index", db_system_name="milvus"):
            async with self._connection.bounded(self._write_seconds):
                self._residency.forget(index.name)
                request = milvus_pb2.DropCollectionRequest(collection_name=index.name)
                try:
                    await self._connection.call("DropCollection", request, common_pb2.Status)
                except NotFound:
                    return

    async def has_index(self, index: IndexRef) -> bool:
        requests.check_name(index.name)
        async with self._connection.bounded():
            return await self._has(index.name)

    async def insert(self, index: IndexRef, rows: Sequence[ChunkRow], *, keyed: bool = False) -> None:
        """Write rows, replacing those of the same chunk_id. On return every search of this process finds them. When it
        fails some rows may have been written: writing all of them again is harmless. keyed: the rows are what
        `stored_rows` returned."""
        with span("vectors.insert", db_system_name="milvus", ragmesh_rows=len(rows)):
            for part in slices(rows):
                request = upsert(index.name, part, keyed=keyed)

                async def write(request: milvus_pb2.UpsertRequest = request) -> None:
                    await self._connection.call("Upsert", request, milvus_pb2.MutationResult)

                await self._on(index, write, self._write_seconds)
            metrics.WRITTEN_CHUNKS.inc(len(rows))
            if rows:
                last = OneOf("chunk_id", [rows[-1].chunk.chunk_id])
                await self._query(index, last, [VERSION_KEY], strong=True)

    async def count_version(self, index: IndexRef, version: DocumentVersion) -> int:
        """How many rows of this version the store holds, counted now."""
        return (await self.count_versions(index, [version]))[version]

    async def count_versions(self, index: IndexRef, versions: Sequence[DocumentVersion]) -> dict[DocumentVersion, int]:
        """As count_version, of several in one round trip for every 256 of them; an absent one counts 0."""
        counts = dict.fromkeys(versions, 0)
        with span("vectors.count_versions", db_system_name="milvus", ragmesh_versions=len(counts)):
            for part in _parts(list(counts)):
                by_key = {version_key(version): version for version in part}
                reply = await self._query(index, OneOf(VERSION_KEY, list(by_key)), [VERSION_KEY], strong=True)
                for found in requests.strings(reply.fields_data, VERSION_KEY):
                    counts[by_key[found]] += 1
        return counts

    async def delete_versions(self, index: IndexRef, versions: Sequence[DocumentVersion]) -> None:
        """Delete every row of these versions; those that have none are no error."""
        with span("vectors.delete_versions", db_system_name="milvus", ragmesh_versions=len(versions)):
            for part in _parts(list(dict.fromkeys(versions))):
                request = requests.delete(index.name, OneOf(VERSION_KEY, [version_key(version) for version in part]))

                async def write(request: milvus_pb2.DeleteRequest = request) -> None:
                    await self._connection.call("Delete", request, milvus_pb2.MutationResult)

                await self._on(index, write, self._write_seconds)

    async def dense(
        self,
        index: IndexRef,
        vector: NDArray[np.float32],
        limit: int,
        *,
        where: SearchFilter,
        with_vectors: bool = False,
    ) -> list[ScoredChunk]:
        """The `limit` chunks of the highest cosine, best first, equal ones by chunk_id; [] from an empty index.
        Which of several equal ones at the very limit are left out is the store's choice.

        vector: (dimension,), as long as the index's. with_vectors: each hit carries its own vector."""
        with span("vectors.dense", db_system_name="milvus", ragmesh_limit=limit):
            query = requests.vector_query(vector)
            return await self._search(index, schema.DENSE, query, limit, where, with_vectors)

    async def bm25(
        self,
        index: IndexRef,
        text: str,
        limit: int,
        *,
        where: SearchFilter,
        with_vectors: bool = False,
    ) -> list[ScoredChunk]:
        """As `dense`, of the highest BM25 score over title, headings and text. text is taken as words, whatever it
        holds; [] when it has none but stop words."""
        with span("vectors.bm25", db_system_name="milvus", ragmesh_limit=limit):
            query = requests.text_query(text)
            return await self._search(index, schema.LEXICAL, query, limit, where, with_vectors)

    async def fetch(
        self, index: IndexRef, chunk_ids: Sequence[str], *, where: SearchFilter, with_vectors: bool = True
    ) -> list[ScoredChunk]:
        """The chunks of these ids that `where` lets through, each once, in the order asked, with score 0.0."""
        wanted = [chunk_id for chunk_id in dict.fromkeys(chunk_ids) if is_chunk_id(chunk_id)]
        if not wanted:
            return []
        with span("vectors.fetch", db_system_name="milvus", ragmesh_ids=len(wanted)):
            fields = [*schema.DISPLAYED, schema.DENSE] if with_vectors else list(schema.DISPLAYED)
            reply = await self._query(index, seen_by(where, OneOf("chunk_id", wanted)), fields)
            found = requests.strings(reply.fields_data, "chunk_id")
            by_id = {hit.chunk.chunk_id: hit for hit in scored(reply.fields_data, found, [0.0] * len(found))}
            return [by_id[chunk_id] for chunk_id in wanted if chunk_id in by_id]

    async def stored_rows(self, index: IndexRef, chunk_ids: Sequence[str]) -> list[ChunkRow]:
        """The rows of these chunks as they are kept, whoever may see them, in no promised order; absent ones are left
        out. Their access lists hold keys, from which groups cannot be told: `insert(..., keyed=True)` writes them back.
        At most 512 at once."""
        wanted = [chunk_id for chunk_id in dict.fromkeys(chunk_ids) if is_chunk_id(chunk_id)]
        if not wanted:
            return []
        with span("vectors.stored_rows", db_system_name="milvus", ragmesh_ids=len(wanted)):
            fields = [*schema.DISPLAYED, "access", schema.DENSE]
            reply = await self._query(index, OneOf("chunk_id", wanted), fields, strong=True)
            return stored(reply.fields_data, requests.strings(reply.fields_data, "chunk_id"))

    async def _search(
        self, index: IndexRef, field: str, query: requests.Query, limit: int, where: SearchFilter, with_vectors: bool
    ) -> list[ScoredChunk]:
        if limit < 1:
            return []
        if limit > MAX_HITS:
            raise InvalidArgument.field("limit", f"at most {MAX_HITS}, not {limit}")
        request = requests.search(index.name, field, query, limit, seen_by(where), with_vectors=with_vectors)

        async def search() -> milvus_pb2.SearchResults | None:
            for _ in range(ODD_WEIGHT_REPEATS):
                try:
                    return await self._connection.call("Search", request, milvus_pb2.SearchResults)
                except StoreRefused as refused:
                    if requests.ODD_WEIGHT not in refused.reason:
                        raise
                    if await self._is_empty(index):
                        return None
            return await self._connection.call("Search", request, milvus_pb2.SearchResults)

        reply = await self._on(index, search)
        if reply is None:
            return []
        results = reply.results
        hits = scored(results.fields_data, results.ids.str_id.data, results.scores)
        return sorted(hits, key=lambda hit: (-hit.score, hit.chunk.chunk_id))

    async def _is_empty(self, index: IndexRef) -> bool:
        reply = await self._connection.call("Query", requests.count(index.name), milvus_pb2.QueryResults)
        return not any(reply.fields_data[0].scalars.long_data.data)

    async def _query(
        self, index: IndexRef, where: Expression, fields: Sequence[str], *, strong: bool = False
    ) -> milvus_pb2.QueryResults:
        request = requests.query(index.name, where, fields, strong=strong)
        return await self._on(index, lambda: self._connection.call("Query", request, milvus_pb2.QueryResults))

    async def _on(
        self, index: IndexRef, work: Callable[[], Awaitable[Result]], cap_seconds: float | None = None
    ) -> Result:
        """Do it on a loaded collection, once more if another process has released it. While one process releases a
        collection and another uses it, milvus-lite may say for a moment that it does not exist: so it is asked."""
        requests.check_name(index.name)
        if self._load_seconds is not None and index.name not in self._residency.loaded:
            with contextlib.suppress(NotLoaded, NotFound):  # asked again below
                async with self._connection.bounded(self._load_seconds), self._residency.using(index.name):
                    pass
        async with self._connection.bounded(cap_seconds):
            try:
                async with self._residency.using(index.name):
                    return await work()
            except (NotLoaded, NotFound) as error:
                self._residency.forget(index.name)
                if not await self._has(index.name):
                    raise absent() from error
            try:
                async with self._residency.using(index.name):
                    return await work()
            except NotFound as error:
                raise Unavailable.dependency(DEPENDENCY) from error

    async def _has(self, name: str) -> bool:
        request = milvus_pb2.HasCollectionRequest(collection_name=name)
        try:
            reply = await self._connection.call("HasCollection", request, milvus_pb2.BoolResponse)
            return bool(reply.value)
        except NotFound:
            return False


def _parts(versions: list[DocumentVersion]) -> list[list[DocumentVersion]]:
    return [versions[at : at + MAX_VERSIONS_PER_CALL] for at in range(0, len(versions), MAX_VERSIONS_PER_CALL)]
