"""The entity graph on Neo4j: adapter of the graph port."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ragmesh_backends.graphs.limits import HUB_OCCURRENCES, SWEEP_CHUNKS, TARGETS_PER_ENTITY, check_words
from ragmesh_backends.graphs.neo4j import statements as cypher
from ragmesh_backends.graphs.neo4j.edges import EdgeWriter, StoredChunk
from ragmesh_backends.model.collection import IndexRef
from ragmesh_backends.model.document import DocumentVersion
from ragmesh_backends.model.graph import ChunkEntities, Link
from ragmesh_backends.neo4j.client import Neo4j, Transaction, rows

_ROLE = "graph"


class Neo4jGraph:
    """Mentions and links of every index. The client must have been opened with NEO4J_GRAPH_SCHEMA.

    Links are a function of the set of chunks and do not depend on the order in which they were written; the rule is
    in `ragmesh_backends.graphs.mentions`. Writers of one index take turns, whatever their process. Errors:
    Unavailable naming `graph`, DeadlineExceeded, Internal.
    """

    def __init__(
        self,
        client: Neo4j,
        *,
        hub_occurrences: int = HUB_OCCURRENCES,
        targets_per_entity: int = TARGETS_PER_ENTITY,
    ) -> None:
        self._client = client
        self._hub_occurrences = hub_occurrences
        self._targets_per_entity = targets_per_entity

    async def write(self, index: IndexRef, chunks: Sequence[ChunkEntities]) -> None:
        """Insert or replace chunks with what they are about and mention, in one transaction. Bears repetition.

        Raises InvalidArgument when a token or key is not made of the words that `model.tokens` makes.
        """
        for chunk in chunks:
            check_words(chunk)

        async def write(transaction: Transaction) -> None:
            edges = EdgeWriter(transaction, index, self._hub_occurrences)
            await edges.lock()
            await edges.write(chunks)

        if chunks:
            await self._client.write(write, role=_ROLE)

    async def links(self, index: IndexRef, chunk_ids: Sequence[str], limit_per_chunk: int = 50) -> list[Link]:
        """For each source, in the order given, what it mentions and which chunks are about that.

        Within a source: the rarest entity first (in_degree, then name), its targets by ordinal and chunk id; at most
        `limit_per_chunk` links of a source and TARGETS_PER_ENTITY of an entity. Targets may belong to hidden
        versions and to the source's own document. Unknown sources have no links.
        """
        wanted = list(dict.fromkeys(chunk_ids))
        mentioned: dict[str, list[dict[str, Any]]] = {chunk_id: [] for chunk_id in wanted}
        for row in await self._ask(cypher.LINKS, index, chunk_ids=wanted):
            mentioned[row["chunk_id"]].append(row)
        return [link for chunk_id in wanted for link in _links(chunk_id, mentioned[chunk_id])[:limit_per_chunk]]

    async def about(self, index: IndexRef, entity_keys: Sequence[str], limit: int) -> list[Link]:
        """Chunks that are about these entities, as links without a source; hubs are not left out.

        out_degree: how many of the given keys are known. The rarest entity first, its targets as for `links`.
        """
        found = await self._ask(cypher.ABOUT, index, names=list(dict.fromkeys(entity_keys)))
        return _links("", found)[:limit]

    async def chunks(self, index: IndexRef, chunk_ids: Sequence[str]) -> list[ChunkEntities]:
        """What `write` was given of these chunks, in no promised order, `about` sorted; unknown ones are left out."""
        found = await self._ask(cypher.CHUNKS, index, rows=list(dict.fromkeys(chunk_ids)))
        return [_chunk(row) for row in found]

    async def delete_versions(self, index: IndexRef, versions: Iterable[DocumentVersion]) -> None:
        """Delete the chunks of these versions and what only they were about. Bears repetition. In several transactions:
        a version that is being deleted is hidden."""
        wanted = [[version.document_id, version.version] for version in dict.fromkeys(versions)]

        async def sweep(transaction: Transaction) -> bool:
            edges = EdgeWriter(transaction, index, self._hub_occurrences)
            await edges.lock()
            found = await rows(
                transaction, cypher.CHUNKS_OF_VERSIONS, **_scope(index), versions=wanted, limit=SWEEP_CHUNKS
            )
            if found:
                await edges.replace([StoredChunk.of(row) for row in found], ())
            return len(found) < SWEEP_CHUNKS

        while wanted and not await self._client.write(sweep, role=_ROLE):
            pass

    async def drop_index(self, index: IndexRef) -> None:
        """Delete all of an index. Bears repetition. In several transactions: no collection shows a dropped index."""
        for statement in (cypher.DROP_CHUNKS, cypher.DROP_ENTITIES):

            async def sweep(transaction: Transaction, statement: str = statement) -> bool:
                [row] = await rows(transaction, statement, **_scope(index), limit=cypher.BATCH)
                deleted: int = row["deleted"]
                return deleted < cypher.BATCH

            while not await self._client.write(sweep, role=_ROLE):
                pass
        await self._client.write(lambda transaction: rows(transaction, cypher.DROP_INDEX, **_scope(index)), role=_ROLE)

    async def ping(self) -> None:
        """Raise Unavailable unless the graph can be read."""
        await self._client.ping(role=_ROLE)

    async def _ask(self, statement: str, index: IndexRef, **parameters: Any) -> list[dict[str, Any]]:
        """One statement, which is one snapshot of each node but not of all of them together."""
        return await self._client.read(
            lambda transaction: rows(
                transaction, statement, **_scope(index), targets=self._targets_per_entity, **parameters
            ),
            role=_ROLE,
        )


def _scope(index: IndexRef) -> dict[str, str]:
    return {"tenant": index.tenant, "index_name": index.name}


def _chunk(row: dict[str, Any]) -> ChunkEntities:
    stored = StoredChunk.of(row)
    about = tuple(sorted(stored.about))
    return ChunkEntities(stored.chunk_id, row["document_id"], row["version"], row["ordinal"], about, stored.tokens)


def _links(source: str, found: Sequence[dict[str, Any]]) -> list[Link]:
    """Sorted here: Neo4j compares strings by UTF-16 units, Python and SQLite by code points."""
    return [
        Link(source, row["name"], chunk_id, document_id, version, len(found), row["in_degree"])
        for row in sorted(found, key=lambda row: (row["in_degree"], row["name"]))
        for chunk_id, document_id, version in row["targets"]
    ]
