"""What one transaction reads and changes of one collection.

Neo4j reads committed data and takes no snapshot, so a decision that is made upon what was read is right only under a
lock. Every transaction that writes to a collection first writes to the collection's node, which locks it until
the end: writers of one collection take turns, as all writers of a SQLite file do, and since each takes this lock first,
none waits in a circle. What is read after the lock is what the writer before has committed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from ragmesh_backends.model.collection import IndexRef
from ragmesh_backends.model.document import Chunk, DocumentState, VersionState
from ragmesh_backends.neo4j.client import Transaction, rows
from ragmesh_backends.records.generation import new_generation
from ragmesh_backends.records.neo4j.nodes import DELETED, Properties, of_chunk
from ragmesh_backends.records.neo4j.ordering import ordered
from ragmesh_backends.records.refusals import collection_not_found, index_not_found

ROWS = 5_000
"""Nodes in one statement: the server holds all of its parameters while it runs."""

_Name = tuple[str, int]

_LOCK_LIVE = """
MATCH (c:RecordCollection {tenant: $tenant, live_key: $live_key})
SET c.locked_us = $now
RETURN c.index_name AS index_name
"""
_LOCK_INDEX = """
MATCH (c:RecordCollection {tenant: $tenant, index_name: $index_name})
SET c.locked_us = $now
RETURN c.index_name AS index_name
"""
# A statement of its own: the one that locks may have read the properties before it had the lock.
_COLLECTION = "MATCH (c:RecordCollection {tenant: $tenant, index_name: $index_name}) RETURN properties(c) AS node"
_DOCUMENTS = """
UNWIND $document_keys AS document_key
MATCH (d:RecordDocument {tenant: $tenant, index_name: $index_name, document_key: document_key})
RETURN properties(d) AS node
"""
_VERSIONS = """
UNWIND $document_ids AS document_id
MATCH (v:RecordVersion {tenant: $tenant, index_name: $index_name, document_id: document_id})
WHERE v.version > 0
RETURN properties(v) AS node, v:RecordHidden AS hidden
"""
_SAVE_COLLECTION = "MATCH (c:RecordCollection {tenant: $tenant, index_name: $index_name}) SET c += $node"
_SAVE_DOCUMENTS = """
UNWIND $nodes AS node
MERGE (d:RecordDocument {tenant: $tenant, index_name: $index_name, document_key: node.document_key})
SET d += node
"""
_SAVE_VERSIONS = """
UNWIND $nodes AS node
MERGE (v:RecordVersion {tenant: $tenant, index_name: $index_name, document_id: node.document_id, version: node.version})
SET v += node
"""
_HIDE = """
UNWIND $nodes AS node
MATCH (v:RecordVersion {tenant: $tenant, index_name: $index_name, document_id: node.document_id, version: node.version})
SET v:RecordHidden
"""
_SHOW = """
UNWIND $nodes AS node
MATCH (v:RecordVersion {tenant: $tenant, index_name: $index_name, document_id: node.document_id, version: node.version})
REMOVE v:RecordHidden
"""
# CREATE, not MERGE: a chunk that is there already means that two chunks claim one place, and fails the transaction.
_CREATE_CHUNKS = """
UNWIND $nodes AS node
CREATE (p:RecordPassage {tenant: $tenant, index_name: $index_name})
SET p += node
"""


class Ledger:
    """Documents and versions as plain properties, changed in place and written by `save`. Of a document that is loaded
    all versions are."""

    def __init__(self, transaction: Transaction, collection: Properties, now: int) -> None:
        self._transaction = transaction
        self.collection = collection
        self.now = now
        self.scope = {"tenant": collection["tenant"], "index_name": collection["index_name"]}
        self.documents: dict[str, Properties] = {}
        self._versions: dict[str, dict[int, Properties]] = {}
        self._hidden: dict[_Name, bool] = {}
        self._chunks: list[Properties] = []
        self._read_documents: dict[str, Properties] = {}
        self._read_versions: dict[_Name, Properties] = {}
        self._read_hidden: dict[_Name, bool] = {}

    async def load(self, document_ids: Iterable[str]) -> None:
        """Read these documents, those that are there. Once in a transaction."""
        wanted = list(dict.fromkeys(document_ids))
        keys = [ordered(document_id) for document_id in wanted]
        for row in await rows(self._transaction, _DOCUMENTS, **self.scope, document_keys=keys):
            node = row["node"]
            self.documents[node["document_id"]] = node
            self._read_documents[node["document_id"]] = dict(node)
        for row in await rows(self._transaction, _VERSIONS, **self.scope, document_ids=wanted):
            node, name = row["node"], _name(row["node"])
            self._versions.setdefault(node["document_id"], {})[node["version"]] = node
            self._read_versions[name] = dict(node)
            self._hidden[name] = self._read_hidden[name] = row["hidden"]

    def document(self, document_id: str) -> Properties | None:
        """One that is there and not deleted."""
        found = self.documents.get(document_id)
        return None if found is None or found["state"] == DELETED else found

    def versions(self, document_id: str) -> dict[int, Properties]:
        return self._versions.get(document_id, {})

    def add_version(self, document_id: str, version: int, properties: Properties) -> Properties:
        """A new version; what is not given is empty."""
        self.collection["versions_begun"] += 1
        node: Properties = {
            "document_id": document_id,
            "version": version,
            "title": "",
            "media_type": "text/plain",
            "size_bytes": 0,
            "content_sha256": "",
            "metadata": "{}",
            "blob_key": "",
            "parsed_key": "",
            "job_id": "",
            "batch_id": "",
            "principal": "",
            "access_groups": [],
            "chunk_count": 0,
            "failure": "",
            "created_us": self.now,
            "begun": self.collection["versions_begun"],
            **properties,
        }
        self._versions.setdefault(document_id, {})[version] = node
        return node

    def change(
        self, version: Properties, state: VersionState, *, hidden: bool, writing: bool | None = None, **properties: Any
    ) -> None:
        """A change of state, now. writing: whether a worker may still add rows; None: as it was."""
        version.update(properties, state=str(state), changed_us=self.now)
        if writing is not None:
            version["writing"] = writing
        self._hidden[_name(version)] = hidden

    def add_chunks(self, document_id: str, version: int, title: str, chunks: Sequence[Chunk]) -> None:
        where = {"document_id": document_id, "version": version}
        self._chunks.extend({**where, **of_chunk(chunk, title)} for chunk in chunks)

    def renew(self) -> None:
        """Replace the collection's generation: answers that were cached are stale."""
        self.collection.update(generation=new_generation(), updated_us=self.now)

    async def save(self) -> None:
        """Write what has changed. The counters follow the documents' states."""
        states = Counter(node["state"] for node in self.documents.values())
        states.subtract(node["state"] for node in self._read_documents.values())
        for state in DocumentState:
            self.collection[f"documents_{state.lower()}"] += states[state]
        await rows(self._transaction, _SAVE_COLLECTION, **self.scope, node=self.collection)
        documents = [node for key, node in self.documents.items() if node != self._read_documents.get(key)]
        await self._write(_SAVE_DOCUMENTS, documents)
        versions = [node for group in self._versions.values() for node in group.values()]
        await self._write(_SAVE_VERSIONS, [node for node in versions if node != self._read_versions.get(_name(node))])
        turned = [node for node in versions if self._hidden[_name(node)] != self._read_hidden.get(_name(node), False)]
        for cypher, hidden in ((_HIDE, True), (_SHOW, False)):
            nodes = [node for node in turned if self._hidden[_name(node)] is hidden]
            await self._write(cypher, [{key: node[key] for key in ("document_id", "version")} for node in nodes])
        await self._write(_CREATE_CHUNKS, self._chunks)

    async def _write(self, cypher: str, nodes: Sequence[Properties]) -> None:
        for start in range(0, len(nodes), ROWS):
            await rows(self._transaction, cypher, **self.scope, nodes=nodes[start : start + ROWS])


async def lock_collection(transaction: Transaction, tenant: str, collection_id: str, now: int) -> Ledger:
    """Lock a collection that is there; NotFound for an absent one and another tenant's alike."""
    live_key = ordered(collection_id)
    locked = await rows(transaction, _LOCK_LIVE, tenant=tenant, live_key=live_key, now=now)
    node = await _read(transaction, tenant, locked)
    if node is None or node.get("live_key") != live_key:
        raise collection_not_found(collection_id)
    return Ledger(transaction, node, now)


async def lock_live_index(transaction: Transaction, index: IndexRef, now: int) -> Ledger:
    """Lock the collection that has this index; NotFound when none has it any more."""
    ledger = await lock_index(transaction, index.tenant, index.name, now)
    if ledger is None or "live_key" not in ledger.collection:
        raise index_not_found()
    return ledger


async def lock_index(transaction: Transaction, tenant: str, index_name: str, now: int) -> Ledger | None:
    """Lock the collection of an index, also one that was dropped; None when it is gone."""
    locked = await rows(transaction, _LOCK_INDEX, tenant=tenant, index_name=index_name, now=now)
    node = await _read(transaction, tenant, locked)
    return None if node is None else Ledger(transaction, node, now)


async def _read(transaction: Transaction, tenant: str, locked: Sequence[Properties]) -> Properties | None:
    if not locked:
        return None
    found = await rows(transaction, _COLLECTION, tenant=tenant, index_name=locked[0]["index_name"])
    return found[0]["node"] if found else None


def _name(version: Properties) -> _Name:
    return version["document_id"], version["version"]
