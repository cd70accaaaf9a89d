"""The write side of the graph: chunks in and out, and the mention edges that follow from them.

The rule is that of the SQLite store, but where that one goes step by step, this one reads what it needs in a few
statements, works out the new state in memory, and writes the difference: each statement is a round trip. Edges are a
function of what is stored: whenever a name appears, disappears, or crosses the line between name and hub, the chunks
in which it occurs are matched again. A hub has no edges and covers nothing, so the line bounds their number.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ragmesh_backends.graphs.mentions import Entity, Known, head, heads, mentioned, occurrences
from ragmesh_backends.graphs.neo4j import statements as cypher
from ragmesh_backends.model.collection import IndexRef
from ragmesh_backends.model.graph import ChunkEntities
from ragmesh_backends.neo4j.client import Transaction, rows

_Tokens = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """What is known of a chunk that is there."""

    chunk_id: str
    about: tuple[str, ...]
    tokens: _Tokens

    @classmethod
    def of(cls, row: dict[str, Any]) -> StoredChunk:
        tokens: str = row["tokens"]
        return cls(row["chunk_id"], tuple(row["about"]), tuple(tokens.split(" ")) if tokens else ())


_Chunk = StoredChunk | ChunkEntities


class EdgeWriter:
    """One write transaction on one index. hub_occurrences: a name that stands in more chunks than this is a hub."""

    def __init__(self, transaction: Transaction, index: IndexRef, hub_occurrences: int) -> None:
        self._transaction = transaction
        self._scope = {"tenant": index.tenant, "index_name": index.name}
        self._term = hashlib.sha256(f"{index.tenant}\0{index.name}".encode()).hexdigest()[:16]
        self._hub_occurrences = hub_occurrences
        self._known: Known = {}
        self._keys: dict[str, int] = {}  # of the known names, counted within this transaction
        self._names: list[str] = []  # by key
        self._counts: dict[str, int] = {}  # in how many chunks each stands
        self._looked: set[str] = set()  # heads

    async def lock(self) -> None:
        """Take turns with every other writer of the index. First in each transaction: what one reads before it has the
        lock may be outdated when it has it."""
        await rows(self._transaction, cypher.LOCK, **self._scope)

    async def write(self, chunks: Sequence[ChunkEntities]) -> None:
        """Insert or replace chunks; one that is there already and the same is left alone."""
        fresh = {chunk.chunk_id: chunk for chunk in chunks}
        doomed: list[StoredChunk] = []
        for row in await self._run(cypher.CHUNKS, list(fresh)):
            new, old = fresh[row["chunk_id"]], StoredChunk.of(row)
            place = (row["document_id"], row["version"], row["ordinal"])
            if (*place, old.about, old.tokens) == (new.document_id, new.version, new.ordinal, _about(new), new.tokens):
                del fresh[new.chunk_id]
            else:
                doomed.append(old)
        if fresh:
            await self.replace(doomed, list(fresh.values()))

    async def replace(self, doomed: Sequence[StoredChunk], fresh: Sequence[ChunkEntities]) -> None:
        """Delete some chunks and insert others, and bring all edges up to date. A fresh chunk's id is not there, or is
        that of a doomed one."""
        outgoing = sorted(chunk.chunk_id for chunk in doomed)
        names = {name for chunk in fresh for name in chunk.about}
        left = {name for chunk in doomed for name in chunk.about} - names
        texts = [chunk.tokens for chunk in doomed] + [chunk.tokens for chunk in fresh]
        await self._look_up(texts, names | left)
        new = sorted(names - self._keys.keys())
        self._add((name, 0) for name in new)
        gone = {row["name"] for row in await self._run(cypher.UNUSED, sorted(left), others_than=outgoing)}
        changed, holders = await self._recount(doomed, fresh, new, gone)
        stale = [StoredChunk.of(row) for row in await self._run(cypher.CHUNKS, holders)]
        await self._look_up([chunk.tokens for chunk in stale], ())
        found = {row["chunk_id"]: set(row["names"]) for row in await self._run(cypher.MENTIONS, holders)}
        added: list[dict[str, Any]] = []
        removed: list[dict[str, Any]] = []
        for chunk_id, wanted in self._match([*stale, *fresh], gone):
            before = found.get(chunk_id, set())
            added.extend({"chunk_id": chunk_id, "name": name} for name in sorted(wanted - before))
            removed.extend({"chunk_id": chunk_id, "name": name} for name in sorted(before - wanted - gone))

        await self._run(cypher.DELETE_CHUNKS, outgoing)
        await self._run(cypher.DELETE_ENTITIES, sorted(gone))
        await self._run(cypher.SAVE_ENTITIES, [self._entity(name) for name in sorted(changed - gone)])
        await self._run(cypher.SAVE_CHUNKS, [self._properties(chunk) for chunk in fresh])
        await self._run(cypher.SAVE_ABOUT, [about for chunk in fresh for about in _about_rows(chunk)])
        await self._run(cypher.REMOVE_MENTIONS, removed)
        await self._run(cypher.ADD_MENTIONS, added)

    async def _recount(
        self, doomed: Sequence[_Chunk], fresh: Sequence[_Chunk], new: Sequence[str], gone: Collection[str]
    ) -> tuple[set[str], list[str]]:
        """Count chunks in and out of the names that stand in them. Returns the names that are new or counted anew, and
        the stored chunks to be matched again."""
        change = Counter(dict.fromkeys(new, 0))
        for chunk in fresh:
            change.update(self._names_in(chunk.tokens))
        for chunk in doomed:
            change.subtract(self._names_in(chunk.tokens).difference(new))  # which nobody has counted yet
        crossing = {
            name
            for name, delta in change.items()
            if self._is_hub(self._counts[name]) != self._is_hub(self._counts[name] + delta)
        }
        uncovering = {name for name in gone if not self._is_hub(self._counts[name])}
        touched = sorted({chunk.chunk_id for chunk in (*doomed, *fresh)})
        holders = await self._holders({*new, *crossing, *uncovering}, touched)
        for name in new:
            change[name] += holders[name][0]
        for name, delta in change.items():
            self._counts[name] += delta
        stale = {
            chunk_id
            for name, (_, found) in holders.items()
            if name not in new or not self._is_hub(self._counts[name])
            for chunk_id in found
        }
        return {name for name, delta in change.items() if delta or name in new}, sorted(stale)

    def _match(self, chunks: Sequence[_Chunk], gone: Collection[str]) -> Iterator[tuple[str, set[str]]]:
        """What each chunk mentions, with the names and the counts as they will be."""
        for chunk in chunks:
            found = []
            for start, entity in occurrences(chunk.tokens, self._known):
                name = self._names[entity.key]
                if name not in gone and not self._is_hub(self._counts[name]):
                    found.append((start, entity))
            about = {self._keys[name] for name in chunk.about if name in self._keys}
            yield chunk.chunk_id, {self._names[entity.key] for entity in mentioned(found, about)}

    def _names_in(self, tokens: _Tokens) -> set[str]:
        """Every known name that stands in the tokens, covered or not."""
        return {self._names[entity.key] for _, entity in occurrences(tokens, self._known)}

    def _is_hub(self, count: int) -> bool:
        return count > self._hub_occurrences

    async def _look_up(self, texts: Iterable[_Tokens], names: Iterable[str]) -> None:
        """Know every entity whose head stands in one of the texts, or is that of one of the names."""
        wanted = set(map(head, names))
        for tokens in texts:
            wanted |= heads(tokens)
        found = await self._run(cypher.ENTITIES, sorted(wanted - self._looked))
        self._looked |= wanted
        self._add((row["name"], row["occurrences"]) for row in found)

    def _add(self, found: Iterable[tuple[str, int]]) -> None:
        for name, count in found:
            if name in self._keys:
                continue  # new in this transaction
            key = self._keys[name] = len(self._names)
            self._names.append(name)
            self._counts[name] = count
            first, _, second = head(name).partition(" ")
            self._known.setdefault(first, {}).setdefault(second, []).append(Entity(key, tuple(name.split(" ")), count))

    async def _holders(self, names: Collection[str], without: Sequence[str]) -> dict[str, tuple[int, list[str]]]:
        """For each name, in how many of the stored chunks it stands, and their ids unless they are a hub's."""
        wanted = [{"name": name, "query": f'scope:"{self._term}" AND tokens:"{name}"'} for name in sorted(names)]
        found = await self._run(cypher.HOLDERS, wanted, limit=self._hub_occurrences, others_than=without)
        return {row["name"]: (row["count"], row["found"]) for row in found}

    def _entity(self, name: str) -> dict[str, Any]:
        return {"name": name, "head": head(name), "occurrences": self._counts[name]}

    def _properties(self, chunk: ChunkEntities) -> dict[str, Any]:
        return {
            "chunk_id": chunk.chunk_id,
            "document_id": chunk.document_id,
            "version": chunk.version,
            "ordinal": chunk.ordinal,
            "about": list(_about(chunk)),
            "tokens": " ".join(chunk.tokens),
            "scope": self._term,
        }

    async def _run(self, statement: str, values: Sequence[Any], **parameters: Any) -> list[dict[str, Any]]:
        """Run a statement for all values, a batch at a time; not at all when there are none."""
        found: list[dict[str, Any]] = []
        for start in range(0, len(values), cypher.BATCH):
            batch = values[start : start + cypher.BATCH]
            found += await rows(self._transaction, statement, **self._scope, rows=batch, **parameters)
        return found


def _about(chunk: ChunkEntities) -> tuple[str, ...]:
    return tuple(sorted(set(chunk.about)))


def _about_rows(chunk: ChunkEntities) -> list[dict[str, Any]]:
    return [{"chunk_id": chunk.chunk_id, "name": name, "ordinal": chunk.ordinal} for name in _about(chunk)]
