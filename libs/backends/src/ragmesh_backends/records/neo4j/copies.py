"""Copies of the record for backups, on Neo4j: methods and meaning as of SqliteCopies.

A read is no snapshot here: a copy that was read while its document changed does not hang together or differs from its
mark, and whoever asked looks again.
"""

from __future__ import annotations

from collections.abc import Sequence

from ragmesh_backends.model.collection import Collection, IndexRef
from ragmesh_backends.model.copies import DELETED, STAGED_AT, DocumentCopy, DocumentMark, Published
from ragmesh_backends.model.document import Chunk, VersionRecord, VersionState
from ragmesh_backends.model.key import KeyRecord
from ragmesh_backends.neo4j.client import Transaction, rows
from ragmesh_backends.records.clock import to_microseconds
from ragmesh_backends.records.generation import new_generation
from ragmesh_backends.records.neo4j import nodes
from ragmesh_backends.records.neo4j.keys import put_keys
from ragmesh_backends.records.neo4j.ledger import Ledger, lock_index
from ragmesh_backends.records.neo4j.ordering import ordered
from ragmesh_backends.records.neo4j.table import Table
from ragmesh_backends.records.refusals import collection_exists, index_not_found, restore_overtaken

LISTING_SECONDS = 120.0
_STAGED = to_microseconds(STAGED_AT)

_COLLECTIONS = """
MATCH (c:RecordCollection) WHERE c.index_name >= '' AND c.live_key IS NOT NULL AND ($tenant = '' OR c.tenant = $tenant)
RETURN properties(c) AS node
"""
_LIVE = """
MATCH (c:RecordCollection {tenant: $tenant, index_name: $index_name}) WHERE c.live_key IS NOT NULL
RETURN c.collection_id AS collection_id
"""
_MARKS = """
MATCH (d:RecordDocument {tenant: $tenant, index_name: $index_name}) WHERE d.document_key >= ''
RETURN d.document_id AS document_id, d.state AS state, d.active_version AS active_version,
       d.latest_version AS latest_version, d.chunk_count AS chunk_count, coalesce(d.updated_us, 0) AS updated_us
"""
_DOCUMENTS = """
UNWIND $document_keys AS document_key
MATCH (d:RecordDocument {tenant: $tenant, index_name: $index_name, document_key: document_key})
RETURN properties(d) AS node
"""
_VERSIONS = """
UNWIND $document_ids AS document_id
MATCH (v:RecordVersion {tenant: $tenant, index_name: $index_name, document_id: document_id})
WHERE v.version > 0 AND v.state IN ['ACTIVE', 'PENDING', 'FAILED']
RETURN properties(v) AS node
"""
_CHUNKS = """
UNWIND $names AS name
MATCH (p:RecordPassage {
  tenant: $tenant, index_name: $index_name, document_id: name.document_id, version: name.version
}) WHERE p.ordinal >= 0
RETURN properties(p) AS node
"""
_STAGED_INDEXES = """
MATCH (c:RecordCollection {tenant: $tenant, deleted_us: $staged}) RETURN c.index_name AS index_name
"""
_STAGE = """
MERGE (c:RecordCollection {tenant: $tenant, index_name: $index_name})
ON CREATE SET c += $node
"""
_ABANDON = """
UNWIND $names AS name
MATCH (c:RecordCollection {tenant: name.tenant, index_name: name.index_name}) WHERE c.deleted_us = $staged
SET c.deleted_us = $now
"""
_LOCK_TENANT = "MATCH (c:RecordCollection {tenant: $tenant}) WHERE c.index_name >= '' SET c.locked_us = $now"
_OF_TENANT = """
MATCH (c:RecordCollection {tenant: $tenant}) WHERE c.index_name >= '' RETURN properties(c) AS node
"""
_DELETE = """
MATCH (c:RecordCollection {tenant: $tenant, index_name: $index_name}) SET c.deleted_us = $now REMOVE c.live_key
"""
_SHOW = """
MATCH (c:RecordCollection {tenant: $tenant, index_name: $index_name})
SET c.live_key = $live_key, c.generation = $generation REMOVE c.deleted_us
"""


class Neo4jCopies(Table):
    """The client must have been opened with NEO4J_RECORDS_SCHEMA and NEO4J_KEYS_SCHEMA. Errors as of the record
    store."""

    async def collections(self, tenant: str) -> list[Collection]:
        """All collections of the tenant ("": of all tenants), by tenant and id."""

        async def work(transaction: Transaction) -> list[Collection]:
            found = await rows(transaction, _COLLECTIONS, tenant=tenant)
            return sorted((nodes.collection(row["node"]) for row in found), key=_place)

        return await self._client.read(work)

    async def marks(self, index: IndexRef) -> list[DocumentMark]:
        """Every document of the index, deleted ones too, by one statement. NotFound when no collection has it."""

        async def work(transaction: Transaction) -> list[DocumentMark]:
            await _require_live(transaction, index)
            found = await rows(transaction, _MARKS, **_scope(index))
            return sorted((DocumentMark(**row) for row in found), key=lambda mark: mark.document_id)

        return await self._client.read(work, cap_seconds=LISTING_SECONDS)

    async def copies(self, index: IndexRef, document_ids: Sequence[str]) -> list[DocumentCopy]:
        """These documents, those that are there. NotFound as for `marks`."""
        wanted = list(dict.fromkeys(document_ids))

        async def work(transaction: Transaction) -> list[DocumentCopy]:
            collection_id = await _require_live(transaction, index)
            keys = [ordered(document_id) for document_id in wanted]
            documents = await rows(transaction, _DOCUMENTS, **_scope(index), document_keys=keys)
            versions: dict[str, list[VersionRecord]] = {}
            for row in await rows(transaction, _VERSIONS, **_scope(index), document_ids=wanted):
                version = nodes.version_record(collection_id, row["node"])
                versions.setdefault(version.document_id, []).append(version)
            active = [one for group in versions.values() for one in group if one.state is VersionState.ACTIVE]
            titles = {(one.document_id, one.version): one.title for one in active}
            names = [{"document_id": one.document_id, "version": one.version} for one in active]
            chunks: dict[str, list[Chunk]] = {}
            for row in await rows(transaction, _CHUNKS, **_scope(index), names=names):
                node = row["node"]
                chunk = nodes.chunk(node, titles[node["document_id"], node["version"]])
                chunks.setdefault(chunk.document_id, []).append(chunk)
            found = {row["node"]["document_id"]: row["node"] for row in documents}
            return [
                _copy(index.tenant, collection_id, found[one], versions.get(one, []), chunks.get(one, []))
                for one in wanted
                if one in found
            ]

        return await self._client.read(work, cap_seconds=LISTING_SECONDS)

    async def staged(self, tenant: str) -> list[IndexRef]:
        """What restores of this tenant have begun and not ended."""

        async def work(transaction: Transaction) -> list[IndexRef]:
            found = await rows(transaction, _STAGED_INDEXES, tenant=tenant, staged=_STAGED)
            return [IndexRef(tenant, row["index_name"]) for row in found]

        return await self._client.read(work)

    async def stage(self, collection: Collection) -> None:
        """Begin a collection that nobody sees. Its index name must be new. Bears repetition."""
        node = {**nodes.of_collection(collection), "deleted_us": _STAGED}
        del node["live_key"]
        await self._client.write(
            lambda transaction: rows(transaction, _STAGE, **_scope(collection.index), node=node),
        )

    async def add(self, index: IndexRef, copies: Sequence[DocumentCopy]) -> None:
        """Put documents into a staged collection; one that is there already stays as it is. Aborted when the
        collection is not staged any more."""

        async def work(transaction: Transaction) -> None:
            ledger = await lock_index(transaction, index.tenant, index.name, self._now())
            if ledger is None or ledger.collection.get("deleted_us") != _STAGED:
                raise restore_overtaken()
            await ledger.load(copy.mark.document_id for copy in copies)
            for copy in copies:
                if copy.mark.document_id not in ledger.documents:
                    _add(ledger, copy)
            await ledger.save()

        await self._client.write(work, cap_seconds=LISTING_SECONDS)

    async def abandon(self, indexes: Sequence[IndexRef]) -> None:
        """Leave staged collections to the sweeper. Does nothing for those that are not staged."""
        names = [_scope(index) for index in indexes]
        await self._client.write(
            lambda transaction: rows(transaction, _ABANDON, names=names, staged=_STAGED, now=self._now()),
        )

    async def publish(self, indexes: Sequence[IndexRef], keys: Sequence[KeyRecord], *, replace: bool) -> Published:
        """Show staged collections and keep keys, all in one transaction. replace: take all other collections of the
        tenants away in it. Without it AlreadyExists when one of the ids is taken. Aborted when one is not staged any
        more. Bears repetition: when all is shown already nothing changes. A key that is there already stays."""

        async def work(transaction: Transaction) -> Published:
            now, found = self._now(), {}
            tenants = list(dict.fromkeys(index.tenant for index in indexes))
            for tenant in tenants:
                await rows(transaction, _LOCK_TENANT, tenant=tenant, now=now)
            for tenant in tenants:
                for row in await rows(transaction, _OF_TENANT, tenant=tenant):
                    found[IndexRef(tenant, row["node"]["index_name"])] = row["node"]
            shown = {index for index, node in found.items() if "live_key" in node}
            for index in indexes:
                if index not in shown and found.get(index, {}).get("deleted_us") != _STAGED:
                    raise restore_overtaken()
            kept = tuple(key.key_id for key in await put_keys(transaction, keys))
            if indexes and shown.issuperset(indexes):
                return Published(None, kept)
            others = [nodes.collection(found[index]) for index in shown.difference(indexes)]
            if replace:
                for other in others:
                    await rows(transaction, _DELETE, **_scope(other.index), now=now)
            taken = {(other.tenant, other.collection_id) for other in others if not replace}
            for index in indexes:
                collection_id: str = found[index]["collection_id"]
                if (index.tenant, collection_id) in taken:
                    raise collection_exists(collection_id)
                shows = {"live_key": ordered(collection_id), "generation": new_generation()}
                await rows(transaction, _SHOW, **_scope(index), **shows)
            return Published(tuple(sorted(others, key=_place)) if replace else (), kept)

        return await self._client.write(work, cap_seconds=LISTING_SECONDS)


def _scope(index: IndexRef) -> dict[str, str]:
    return {"tenant": index.tenant, "index_name": index.name}


def _place(collection: Collection) -> tuple[str, str]:
    return collection.tenant, collection.collection_id


async def _require_live(transaction: Transaction, index: IndexRef) -> str:
    """The collection's id."""
    found = await rows(transaction, _LIVE, **_scope(index))
    if not found:
        raise index_not_found()
    collection_id: str = found[0]["collection_id"]
    return collection_id


def _copy(
    tenant: str, collection_id: str, node: nodes.Properties, versions: list[VersionRecord], chunks: list[Chunk]
) -> DocumentCopy:
    mark = DocumentMark(
        document_id=node["document_id"],
        state=node["state"],
        active_version=node["active_version"],
        latest_version=node["latest_version"],
        chunk_count=node["chunk_count"],
        updated_us=node.get("updated_us", 0),
    )
    if mark.state == DELETED:
        return DocumentCopy(mark, None)
    return DocumentCopy(
        mark,
        nodes.document(tenant, collection_id, node),
        tuple(sorted(versions, key=lambda version: version.version)),
        tuple(sorted(chunks, key=lambda chunk: chunk.ordinal)),
    )


def _add(ledger: Ledger, copy: DocumentCopy) -> None:
    mark, document = copy.mark, copy.document
    node: nodes.Properties = {
        "document_key": ordered(mark.document_id),
        "document_id": mark.document_id,
        "state": mark.state,
        "active_version": mark.active_version,
        "latest_version": mark.latest_version,
        "chunk_count": mark.chunk_count,
        "updated_us": mark.updated_us,
    }
    if document is not None:
        node |= {**nodes.shown(document), "failure": document.failure}
        node["created_us"] = to_microseconds(document.created_at)
    ledger.documents[mark.document_id] = node
    for version in copy.versions:
        waits = version.state is VersionState.PENDING
        kept = ledger.add_version(
            version.document_id,
            version.version,
            {
                **nodes.shown(version),
                "blob_key": version.blob_key,
                "parsed_key": version.parsed_key,
                "job_id": version.job_id,
                "batch_id": version.batch_id,
                "principal": version.principal,
                "access_groups": list(version.groups),
                "chunk_count": version.chunk_count,
                "failure": version.failure,
                "created_us": to_microseconds(version.created_at),
            },
        )
        ledger.change(kept, version.state, hidden=waits, writing=waits)
        kept["changed_us"] = to_microseconds(version.changed_at)
        if version.state is VersionState.ACTIVE:
            ledger.add_chunks(version.document_id, version.version, version.title, copy.chunks)
