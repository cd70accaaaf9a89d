"""The write side of the graph: chunks in and out, and the mention edges that follow from them.

All functions run inside one transaction of the caller. Edges are a function of what is stored: whenever a name
appears, disappears, or crosses the line between name and hub, the chunks in which it occurs are matched again.
A hub has no edges and covers nothing, so that the number of chunks to match again is bounded by the line.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence

from ragmesh_backends.graphs.mentions import Entity, Known, head, heads, mentioned, occurrences
from ragmesh_backends.model.graph import ChunkEntities

_Tokens = tuple[str, ...]
_Hits = list[tuple[int, Entity]]


class EdgeWriter:
    """One write transaction on one index. hub_occurrences: a name that stands in more chunks than this is a hub."""

    def __init__(self, connection: sqlite3.Connection, index_key: int, hub_occurrences: int) -> None:
        self._connection = connection
        self._index_key = index_key
        self._hub_occurrences = hub_occurrences
        self._tokens: dict[int, _Tokens] = {}  # of the chunks that this transaction has read or written
        self._stale: set[int] = set()  # chunks to be matched again
        # What `write` found in its chunks, and by how much the entities' occurrences have grown since.
        self._hits: dict[int, _Hits] = {}
        self._grown: dict[int, int] = {}

    def write(self, chunks: Sequence[ChunkEntities]) -> None:
        """Insert or replace chunks; one that is there already and the same is left alone."""
        fresh = self._changed(chunks)
        names = {name for chunk in fresh for name in chunk.about}
        entities, new = self._entities(names)
        keys = [self._insert(chunk, entities) for chunk in fresh]
        self._stale.update(keys)
        counted = dict.fromkeys(new, 0)
        for key, name in new.items():
            holders = self._holders(name)
            counted[key] = len(holders)
            if len(holders) <= self._hub_occurrences:
                self._stale.update(holders)
        self._connection.executemany(
            "UPDATE graph_entities SET occurrences = ? WHERE entity_key = ?",
            [(count, key) for key, count in counted.items()],
        )
        self._hits, self._grown = self._count(keys, 1, except_for=counted)

    def remove(self, keys: Sequence[int]) -> None:
        """Delete chunks, and with them the entities that no chunk is about any more."""
        rows = [(key,) for key in keys]
        self._hits, self._grown = {}, {}  # entities may go as well
        self._load(keys)
        self._count(keys, -1)
        entities: set[int] = set()
        for key in keys:
            entities.update(
                row[0]
                for row in self._connection.execute("SELECT entity_key FROM graph_about WHERE chunk_key = ?", (key,))
            )
        self._connection.executemany(
            "INSERT INTO graph_tokens (graph_tokens, rowid, tokens) VALUES ('delete', ?, ?)",
            [(key, self._terms(self._tokens[key])) for key in keys],
        )
        for table in ("graph_mentions", "graph_about", "graph_chunks"):
            self._connection.executemany(
                f"DELETE FROM {table} WHERE chunk_key = ?",  # noqa: S608 - constant names
                rows,
            )
        for key in keys:
            self._stale.discard(key)
            del self._tokens[key]
        for entity in entities:
            self._drop_unless_used(entity)

    def finish(self) -> None:
        """Match the stale chunks again and bring their edges up to date."""
        if not self._stale:
            return
        keys = sorted(self._stale)
        self._load(keys)
        known = self._lookup(self._tokens[key] for key in keys if key not in self._hits)
        found = self._pairs("graph_mentions", keys)
        about = self._pairs("graph_about", keys)
        added: list[tuple[int, int]] = []
        gone: list[tuple[int, int]] = []
        for key in keys:
            hits = self._without_hubs(key, known)
            wanted = {entity.key for entity in mentioned(hits, about.get(key, ()))}
            stored = found.get(key, set())
            added.extend((key, entity) for entity in wanted - stored)
            gone.extend((key, entity) for entity in stored - wanted)
        self._connection.executemany("DELETE FROM graph_mentions WHERE chunk_key = ? AND entity_key = ?", gone)
        self._connection.executemany("INSERT INTO graph_mentions (chunk_key, entity_key) VALUES (?, ?)", added)
        self._stale.clear()

    def _without_hubs(self, key: int, known: Known) -> _Hits:
        """What occurs in a chunk: found by `write` already, or among those known."""
        limit = self._hub_occurrences
        if key in self._hits:
            return [hit for hit in self._hits[key] if hit[1].occurrences + self._grown.get(hit[1].key, 0) <= limit]
        return [hit for hit in occurrences(self._tokens[key], known) if hit[1].occurrences <= limit]

    def _changed(self, chunks: Sequence[ChunkEntities]) -> list[ChunkEntities]:
        """The chunks that are new or differ from what is stored; what they replace is removed."""
        last = {chunk.chunk_id: chunk for chunk in chunks}
        stored = self._connection.execute(
            "SELECT chunk_id, chunk_key, document_id, version, ordinal, about, tokens FROM graph_chunks"
            " WHERE index_key = ? AND chunk_id IN (SELECT value FROM json_each(?))",
            (self._index_key, json.dumps(list(last))),
        ).fetchall()
        replaced = []
        for chunk_id, key, *rest in stored:
            chunk = last[chunk_id]
            if rest == [chunk.document_id, chunk.version, chunk.ordinal, *_texts(chunk)]:
                del last[chunk_id]
            else:
                replaced.append(key)
        if replaced:
            self.remove(replaced)
        return list(last.values())

    def _entities(self, names: set[str]) -> tuple[dict[str, int], dict[int, str]]:
        """Keys of all names, and those of them that are new."""
        entities: dict[str, int] = dict(
            self._connection.execute(
                "SELECT name, entity_key FROM graph_entities"
                " WHERE index_key = ? AND name IN (SELECT value FROM json_each(?))",
                (self._index_key, json.dumps(list(names))),
            ).fetchall()
        )
        new: dict[int, str] = {}
        for name in sorted(names - entities.keys()):
            key = self._connection.execute(
                "INSERT INTO graph_entities (index_key, name, head) VALUES (?, ?, ?)",
                (self._index_key, name, head(name)),
            ).lastrowid
            assert key is not None  # an INSERT that succeeded
            entities[name] = key
            new[key] = name
        return entities, new

    def _insert(self, chunk: ChunkEntities, entities: dict[str, int]) -> int:
        about, tokens = _texts(chunk)
        key = self._connection.execute(
            "INSERT INTO graph_chunks (index_key, chunk_id, document_id, version, ordinal, about, tokens)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (self._index_key, chunk.chunk_id, chunk.document_id, chunk.version, chunk.ordinal, about, tokens),
        ).lastrowid
        assert key is not None  # an INSERT that succeeded
        self._connection.execute(
            "INSERT INTO graph_tokens (rowid, tokens) VALUES (?, ?)", (key, self._terms(chunk.tokens))
        )
        self._connection.executemany(
            "INSERT INTO graph_about (entity_key, ordinal, chunk_id, document_id, version, chunk_key)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            [
                (entities[name], chunk.ordinal, chunk.chunk_id, chunk.document_id, chunk.version, key)
                for name in set(chunk.about)
            ],
        )
        self._tokens[key] = chunk.tokens
        return key

    def _count(
        self, keys: Sequence[int], step: int, except_for: Iterable[int] = ()
    ) -> tuple[dict[int, _Hits], dict[int, int]]:
        """Count chunks in or out of the entities that occur in them; where one crosses the hub line, the chunks that
        hold it are stale. Returns what occurs in each chunk, and the change of each entity that was not left out."""
        if not keys:
            return {}, {}
        known = self._lookup(self._tokens[key] for key in keys)
        change: dict[int, int] = {}
        named: dict[int, Entity] = {}
        skipped = frozenset(except_for)
        hits = {key: list(occurrences(self._tokens[key], known)) for key in keys}
        for found in hits.values():
            for entity in {hit[1].key: hit[1] for hit in found}.values():
                if entity.key not in skipped:
                    change[entity.key] = change.get(entity.key, 0) + step
                    named[entity.key] = entity
        self._connection.executemany(
            "UPDATE graph_entities SET occurrences = occurrences + ? WHERE entity_key = ?",
            [(delta, entity) for entity, delta in change.items()],
        )
        for key, delta in change.items():
            before = named[key].occurrences
            if (before <= self._hub_occurrences) != (before + delta <= self._hub_occurrences):
                self._stale.update(self._holders(" ".join(named[key].tokens)))
        return hits, change

    def _drop_unless_used(self, entity: int) -> None:
        used = self._connection.execute("SELECT 1 FROM graph_about WHERE entity_key = ? LIMIT 1", (entity,)).fetchone()
        if used is not None:
            return
        name, count = self._connection.execute(
            "SELECT name, occurrences FROM graph_entities WHERE entity_key = ?", (entity,)
        ).fetchone()
        if count <= self._hub_occurrences:
            self._stale.update(self._holders(name))
        self._connection.execute("DELETE FROM graph_mentions WHERE entity_key = ?", (entity,))
        self._connection.execute("DELETE FROM graph_entities WHERE entity_key = ?", (entity,))

    def _holders(self, name: str) -> list[int]:
        """Keys of all chunks of the index in which the name occurs."""
        rows = self._connection.execute(
            "SELECT rowid FROM graph_tokens WHERE graph_tokens MATCH ?",
            (f'"{self._terms(name.split(" "))}"',),
        )
        return [row[0] for row in rows]

    def _terms(self, tokens: Sequence[str]) -> str:
        prefix = f"{self._index_key}x"
        return prefix + f" {prefix}".join(tokens) if tokens else ""

    def _lookup(self, texts: Iterable[_Tokens]) -> Known:
        """Every entity whose head stands in one of the texts."""
        wanted: set[str] = set()
        for tokens in texts:
            wanted |= heads(tokens)
        known: Known = {}
        for name_head, key, name, count in self._connection.execute(
            "SELECT e.head, e.entity_key, e.name, e.occurrences FROM json_each(?) AS wanted"
            " CROSS JOIN graph_entities AS e ON e.index_key = ? AND e.head = wanted.value",
            (json.dumps(list(wanted)), self._index_key),
        ):
            first, _, second = name_head.partition(" ")
            known.setdefault(first, {}).setdefault(second, []).append(Entity(key, tuple(name.split(" ")), count))
        return known

    def _load(self, keys: Iterable[int]) -> None:
        missing = [key for key in keys if key not in self._tokens]
        if missing:
            for key, tokens in self._connection.execute(
                "SELECT chunk_key, tokens FROM graph_chunks WHERE chunk_key IN (SELECT value FROM json_each(?))",
                (json.dumps(missing),),
            ):
                self._tokens[key] = tuple(tokens.split(" ")) if tokens else ()

    def _pairs(self, table: str, keys: Sequence[int]) -> dict[int, set[int]]:
        found: dict[int, set[int]] = {}
        for chunk, entity in self._connection.execute(
            f"SELECT chunk_key, entity_key FROM {table} WHERE chunk_key IN (SELECT value FROM json_each(?))",  # noqa: S608 - constant names
            (json.dumps(keys),),
        ):
            found.setdefault(chunk, set()).add(entity)
        return found


def _texts(chunk: ChunkEntities) -> tuple[str, str]:
    """What a chunk is about and its tokens, as stored."""
    return json.dumps(sorted(set(chunk.about))), " ".join(chunk.tokens)
