"""Documents and their versions: begun, activated or failed, read and deleted."""

from __future__ import annotations

from collections.abc import Sequence

from ragmesh_backends.model.collection import IndexRef
from ragmesh_backends.model.document import (
    Activation,
    Chunk,
    Document,
    DocumentState,
    DocumentVersion,
    NewVersion,
    ReadyVersion,
    VersionRecord,
    VersionState,
)
from ragmesh_backends.neo4j.client import Transaction, rows
from ragmesh_backends.records.neo4j import nodes
from ragmesh_backends.records.neo4j.activation import activate
from ragmesh_backends.records.neo4j.beginning import begin
from ragmesh_backends.records.neo4j.ledger import lock_collection, lock_live_index
from ragmesh_backends.records.neo4j.ordering import ordered
from ragmesh_backends.records.neo4j.table import Table
from ragmesh_backends.records.refusals import collection_not_found, document_not_found

_COLLECTION = "MATCH (c:RecordCollection {tenant: $tenant, live_key: $live_key})"
_GET_DOCUMENT = f"""
{_COLLECTION}
OPTIONAL MATCH (d:RecordDocument {{tenant: $tenant, index_name: c.index_name, document_key: $document_key}})
WHERE d.state <> 'DELETED'
RETURN properties(d) AS node
"""
_LIST_DOCUMENTS = f"""
{_COLLECTION}
CALL (c) {{
  MATCH (d:RecordDocument {{tenant: $tenant, index_name: c.index_name}})
  WHERE d.document_key > $after AND d.state <> 'DELETED'
  WITH d ORDER BY d.document_key LIMIT $limit
  RETURN collect(properties(d)) AS found
}}
RETURN found
"""
_GET_VERSIONS = f"""
{_COLLECTION}
UNWIND $names AS name
OPTIONAL MATCH (v:RecordVersion {{
  tenant: $tenant, index_name: c.index_name, document_id: name.document_id, version: name.version
}})
RETURN properties(v) AS node
"""
_LIST_CHUNKS = f"""
{_COLLECTION}
OPTIONAL MATCH (d:RecordDocument {{tenant: $tenant, index_name: c.index_name, document_key: $document_key}})
WHERE d.state <> 'DELETED'
OPTIONAL MATCH (v:RecordVersion {{
  tenant: $tenant, index_name: c.index_name, document_id: $document_id, version: d.active_version
}})
CALL (c, v) {{
  MATCH (p:RecordPassage {{tenant: $tenant, index_name: c.index_name, document_id: $document_id, version: v.version}})
  WHERE p.ordinal > $after
  WITH p ORDER BY p.ordinal LIMIT $limit
  RETURN collect(properties(p)) AS found
}}
RETURN d IS NOT NULL AS exists, v.title AS title, found
"""


class DocumentNodes(Table):
    """The documents of each collection. A document shows the title, size and metadata of its active version, or of
    its newest one while none is active."""

    async def begin_versions(self, index: IndexRef, items: Sequence[NewVersion]) -> list[DocumentVersion]:
        """Give each item the next version number of its document, in the order of the items; the new versions are
        hidden. A job that asks again for the same document gets its number again, and a failed version is pending
        again then. index: where its blobs and rows go. NotFound: no collection has it (any more), though another may
        have the same id."""

        async def work(transaction: Transaction) -> list[DocumentVersion]:
            ledger = await lock_live_index(transaction, index, self._now())
            await ledger.load(item.document_id for item in items)
            begun = [begin(ledger, item) for item in items]
            await ledger.save()
            return begun

        return await self._client.write(work)

    async def activate_versions(self, index: IndexRef, items: Sequence[ReadyVersion]) -> list[Activation]:
        """Make each version the one that is searched if it is newer than the active one, and replace the
        collection's generation; all in one transaction, one result for each item in order. index: where the rows are.
        NotFound: no collection has it (any more)."""

        async def work(transaction: Transaction) -> list[Activation]:
            ledger = await lock_live_index(transaction, index, self._now())
            await ledger.load(item.document_id for item in items)
            results = [activate(ledger, item) for item in items]
            ledger.renew()
            await ledger.save()
            return results

        return await self._client.write(work)

    async def fail_version(self, index: IndexRef, document_id: str, version: int, message: str) -> None:
        """Record that a pending version cannot be ingested, with one sentence. It stays hidden until its rows are
        swept. Does nothing for a version that is not pending. NotFound: no collection has the index (any more), no
        such version."""

        async def work(transaction: Transaction) -> None:
            ledger = await lock_live_index(transaction, index, self._now())
            await ledger.load([document_id])
            found = ledger.versions(document_id).get(version)
            if found is None:
                raise document_not_found(document_id)
            found["writing"] = False
            if found["state"] == VersionState.PENDING:
                ledger.change(found, VersionState.FAILED, hidden=True, failure=message)
                document = ledger.document(document_id)
                if document is not None and document["latest_version"] == version:
                    document.update(failure=message, updated_us=ledger.now)
                    if not document["active_version"]:
                        document["state"] = str(DocumentState.FAILED)
            await ledger.save()

        await self._client.write(work)

    async def get_document(self, tenant: str, collection_id: str, document_id: str) -> Document:
        """NotFound: no collection, or no document."""

        async def work(transaction: Transaction) -> Document:
            found = await rows(
                transaction,
                _GET_DOCUMENT,
                tenant=tenant,
                live_key=ordered(collection_id),
                document_key=ordered(document_id),
            )
            if not found:
                raise collection_not_found(collection_id)
            if found[0]["node"] is None:
                raise document_not_found(document_id)
            return nodes.document(tenant, collection_id, found[0]["node"])

        return await self._client.read(work)

    async def list_documents(self, tenant: str, collection_id: str, after: str, limit: int) -> list[Document]:
        """At most `limit` documents with an id greater than `after` (empty: from the start), by id."""

        async def work(transaction: Transaction) -> list[Document]:
            found = await rows(
                transaction,
                _LIST_DOCUMENTS,
                tenant=tenant,
                live_key=ordered(collection_id),
                after=ordered(after),
                limit=limit,
            )
            if not found:
                raise collection_not_found(collection_id)
            return [nodes.document(tenant, collection_id, node) for node in found[0]["found"]]

        return await self._client.read(work)

    async def get_version(self, tenant: str, collection_id: str, document_id: str, version: int) -> VersionRecord:
        """One version in whatever state, also of a document that was deleted, until it is forgotten. NotFound then."""
        found = await self._versions(tenant, collection_id, [DocumentVersion(document_id, version)])
        if found is None:
            raise collection_not_found(collection_id)
        if not found:
            raise document_not_found(document_id)
        return found[0]

    async def get_versions(
        self, tenant: str, collection_id: str, versions: Sequence[DocumentVersion]
    ) -> dict[DocumentVersion, VersionRecord]:
        """As `get_version`, of several in one read. One that is not there, and all of a collection that is not there,
        are left out."""
        records = await self._versions(tenant, collection_id, versions) or []
        return {DocumentVersion(record.document_id, record.version): record for record in records}

    async def _versions(
        self, tenant: str, collection_id: str, versions: Sequence[DocumentVersion]
    ) -> list[VersionRecord] | None:
        """Those that are there; None: no collection (or nothing asked)."""
        names = [{"document_id": one.document_id, "version": one.version} for one in versions]

        async def work(transaction: Transaction) -> list[VersionRecord] | None:
            found = await rows(transaction, _GET_VERSIONS, tenant=tenant, live_key=ordered(collection_id), names=names)
            if not found:
                return None
            return [nodes.version_record(collection_id, row["node"]) for row in found if row["node"] is not None]

        return await self._client.read(work)

    async def list_chunks(
        self, tenant: str, collection_id: str, document_id: str, after_ordinal: int, limit: int
    ) -> list[Chunk]:
        """Chunks of the active version with an ordinal greater than `after_ordinal` (-1: from the start), in
        order; empty while no version is active. Their text is empty: slice the parsed text. NotFound: no document."""

        async def work(transaction: Transaction) -> list[Chunk]:
            found = await rows(
                transaction,
                _LIST_CHUNKS,
                tenant=tenant,
                live_key=ordered(collection_id),
                document_key=ordered(document_id),
                document_id=document_id,
                after=after_ordinal,
                limit=limit,
            )
            if not found:
                raise collection_not_found(collection_id)
            [row] = found
            if not row["exists"]:
                raise document_not_found(document_id)
            return [nodes.chunk(node, row["title"]) for node in row["found"]]

        return await self._client.read(work)

    async def delete_document(self, tenant: str, collection_id: str, document_id: str) -> list[DocumentVersion]:
        """Take a document from all readers at once and return its versions, oldest first: hidden from now on, until
        they are swept. The collection's generation is replaced. NotFound: no collection, no document."""

        async def work(transaction: Transaction) -> list[DocumentVersion]:
            ledger = await lock_collection(transaction, tenant, collection_id, self._now())
            await ledger.load([document_id])
            document = ledger.document(document_id)
            if document is None:
                raise document_not_found(document_id)
            document.update(
                state=nodes.DELETED,
                title="",
                metadata="{}",
                failure="",
                content_sha256="",
                active_version=0,
                chunk_count=0,
                updated_us=ledger.now,
            )
            versions = ledger.versions(document_id)
            for version in versions.values():
                if version["state"] != VersionState.RETIRED:
                    ledger.change(version, VersionState.RETIRED, hidden=True)
            ledger.renew()
            await ledger.save()
            return [DocumentVersion(document_id, number) for number in sorted(versions)]

        return await self._client.write(work)
