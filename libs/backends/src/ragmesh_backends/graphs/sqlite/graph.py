"""The entity graph on SQLite: adapter of the graph port."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence

from ragmesh_backends.graphs.limits import HUB_OCCURRENCES, SWEEP_CHUNKS, TARGETS_PER_ENTITY, check_words
from ragmesh_backends.graphs.sqlite.edges import EdgeWriter
from ragmesh_backends.model.collection import IndexRef
from ragmesh_backends.model.document import DocumentVersion
from ragmesh_backends.model.graph import ChunkEntities, Link
from ragmesh_backends.sqlite.database import Database

_Target = tuple[str, str, int]  # chunk id, document id, version


class SqliteGraph:
    """Mentions and links of every index. The database must have been opened with GRAPH_SCHEMA.

    Links are a function of the set of chunks and do not depend on the order in which they were written; the rule is
    in `ragmesh_backends.graphs.mentions`. Errors: Unavailable naming `graph`, DeadlineExceeded, Internal.
    """

    def __init__(
        self,
        database: Database,
        *,
        hub_occurrences: int = HUB_OCCURRENCES,
        targets_per_entity: int = TARGETS_PER_ENTITY,
    ) -> None:
        self._database = database
        self._hub_occurrences = hub_occurrences
        self._targets_per_entity = targets_per_entity

    async def write(self, index: IndexRef, chunks: Sequence[ChunkEntities]) -> None:
        """Insert or replace chunks with what they are about and mention, in one transaction. Bears repetition.

        Raises InvalidArgument when a token or key is not made of the words that `model.tokens` makes.
        """
        for chunk in chunks:
            check_words(chunk)

        def write(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT OR IGNORE INTO graph_indexes (tenant, name) VALUES (?, ?)", (index.tenant, index.name)
            )
            key = _index_key(connection, index)
            assert key is not None  # inserted above
            edges = EdgeWriter(connection, key, self._hub_occurrences)
            edges.write(chunks)
            edges.finish()

        if chunks:
            await self._database.write(write, role="graph")

    async def links(self, index: IndexRef, chunk_ids: Sequence[str], limit_per_chunk: int = 50) -> list[Link]:
        """For each source, in the order given, what it mentions and which chunks are about that.

        Within a source: the rarest entity first (in_degree, then name), its targets by ordinal and chunk id; at most
        `limit_per_chunk` links of a source and TARGETS_PER_ENTITY of an entity. Targets may belong to hidden
        versions and to the source's own document. Unknown sources have no links.
        """

        def query(connection: sqlite3.Connection) -> list[Link]:
            key = _index_key(connection, index)
            if key is None:
                return []
            targets: dict[int, list[_Target]] = {}
            found: list[Link] = []
            for chunk_id in dict.fromkeys(chunk_ids):
                links: list[Link] = []
                for out_degree, entity, name, in_degree in connection.execute(
                    "SELECT c.out_degree, e.entity_key, e.name, e.in_degree FROM graph_chunks AS c"
                    " JOIN graph_mentions AS m USING (chunk_key) JOIN graph_entities AS e USING (entity_key)"
                    " WHERE c.index_key = ? AND c.chunk_id = ? ORDER BY e.in_degree, e.name",
                    (key, chunk_id),
                ).fetchall():
                    if entity not in targets:
                        targets[entity] = self._targets(connection, entity)
                    links.extend(
                        Link(chunk_id, name, target, document_id, version, out_degree, in_degree)
                        for target, document_id, version in targets[entity]
                    )
                    if len(links) >= limit_per_chunk:
                        break
                found.extend(links[:limit_per_chunk])
            return found

        return await self._database.read(query, role="graph")

    async def about(self, index: IndexRef, entity_keys: Sequence[str], limit: int) -> list[Link]:
        """Chunks that are about these entities, as links without a source; hubs are not left out.

        out_degree: how many of the given keys are known. The rarest entity first, its targets as for `links`.
        """

        def query(connection: sqlite3.Connection) -> list[Link]:
            key = _index_key(connection, index)
            if key is None:
                return []
            entities = connection.execute(
                "SELECT entity_key, name, in_degree FROM graph_entities WHERE index_key = ?"
                " AND name IN (SELECT value FROM json_each(?)) ORDER BY in_degree, name",
                (key, json.dumps(list(entity_keys))),
            ).fetchall()
            found: list[Link] = []
            for entity, name, in_degree in entities:
                if len(found) >= limit:
                    break
                found.extend(
                    Link("", name, *target, len(entities), in_degree) for target in self._targets(connection, entity)
                )
            return found[:limit]

        return await self._database.read(query, role="graph")

    async def chunks(self, index: IndexRef, chunk_ids: Sequence[str]) -> list[ChunkEntities]:
        """What `write` was given of these chunks, in no promised order, `about` sorted; unknown ones are left out."""

        def query(connection: sqlite3.Connection) -> list[ChunkEntities]:
            rows = connection.execute(
                "SELECT chunk_id, document_id, version, ordinal, about, tokens FROM graph_chunks"
                " WHERE index_key = ? AND chunk_id IN (SELECT value FROM json_each(?))",
                (_index_key(connection, index), json.dumps(list(chunk_ids))),
            )
            return [
                ChunkEntities(
                    chunk_id,
                    document_id,
                    version,
                    ordinal,
                    tuple(json.loads(about)),
                    tuple(tokens.split(" ")) if tokens else (),
                )
                for chunk_id, document_id, version, ordinal, about, tokens in rows
            ]

        return await self._database.read(query, role="graph")

    async def delete_versions(self, index: IndexRef, versions: Iterable[DocumentVersion]) -> None:
        """Delete the chunks of these versions and what only they were about. Bears repetition. In several transactions:
        a version that is being deleted is hidden."""
        wanted = json.dumps([[version.document_id, version.version] for version in dict.fromkeys(versions)])
        await self._sweep(
            index,
            "SELECT c.chunk_key FROM json_each(?) AS v JOIN graph_chunks AS c ON c.index_key = ?"
            " AND c.document_id = json_extract(v.value, '$[0]')"
            " AND c.version = json_extract(v.value, '$[1]') LIMIT ?",
            wanted,
        )

    async def drop_index(self, index: IndexRef) -> None:
        """Delete all of an index. Bears repetition. In several transactions: no collection shows a dropped index."""
        await self._sweep(index, "SELECT chunk_key FROM graph_chunks WHERE ? IS NULL AND index_key = ? LIMIT ?", None)

        def forget(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM graph_indexes WHERE tenant = ? AND name = ?", (index.tenant, index.name))

        await self._database.write(forget, role="graph")

    async def ping(self) -> None:
        """Raise Unavailable unless the graph can be read."""
        await self._database.ping(role="graph")

    async def _sweep(self, index: IndexRef, select: str, argument: str | None) -> None:
        def sweep(connection: sqlite3.Connection) -> bool:
            key = _index_key(connection, index)
            if key is None:
                return True
            rows = connection.execute(select, (argument, key, SWEEP_CHUNKS)).fetchall()
            edges = EdgeWriter(connection, key, self._hub_occurrences)
            edges.remove([row[0] for row in rows])
            edges.finish()
            return len(rows) < SWEEP_CHUNKS

        while not await self._database.write(sweep, role="graph"):
            pass

    def _targets(self, connection: sqlite3.Connection, entity: int) -> list[_Target]:
        return connection.execute(
            "SELECT chunk_id, document_id, version FROM graph_about WHERE entity_key = ?"
            " ORDER BY ordinal, chunk_id LIMIT ?",
            (entity, self._targets_per_entity),
        ).fetchall()


def _index_key(connection: sqlite3.Connection, index: IndexRef) -> int | None:
    row = connection.execute(
        "SELECT index_key FROM graph_indexes WHERE tenant = ? AND name = ?", (index.tenant, index.name)
    ).fetchone()
    return None if row is None else row[0]
