"""What must not be found, what can be swept, and what was promised but never finished."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ragmesh_backends.model.collection import IndexRef
from ragmesh_backends.model.document import DocumentVersion, RetiredVersion, VersionRecord
from ragmesh_backends.neo4j.client import Transaction, rows
from ragmesh_backends.records.clock import ABANDONED_SECONDS
from ragmesh_backends.records.neo4j import nodes
from ragmesh_backends.records.neo4j.ledger import ROWS, lock_index
from ragmesh_backends.records.neo4j.table import Table
from ragmesh_backends.records.paging import pending_place
from ragmesh_backends.records.refusals import index_not_found

_HIDDEN = """
MATCH (c:RecordCollection {tenant: $tenant, index_name: $index_name}) WHERE c.live_key IS NOT NULL
OPTIONAL MATCH (v:RecordHidden {tenant: $tenant, index_name: $index_name})
RETURN v.document_id AS document_id, v.version AS version
"""
_LIVE = """
MATCH (c:RecordCollection {tenant: v.tenant, index_name: v.index_name}) WHERE c.live_key IS NOT NULL
RETURN c.collection_id AS collection_id, properties(v) AS node
ORDER BY v.changed_us, v.created_us, v.begun LIMIT $limit
"""
_RETIRED = f"""
MATCH (v:RecordHidden) WHERE v.state IN ['RETIRED', 'FAILED'] AND v.changed_us <= $old
AND (NOT v.writing OR v.changed_us <= $abandoned)
{_LIVE}
"""
_PENDING = """
MATCH (v:RecordHidden) WHERE v.state = 'PENDING' AND $after_us <= v.changed_us <= $old
AND (v.changed_us > $after_us OR [v.tenant, v.index_name, v.document_id, v.version] > $after)
MATCH (c:RecordCollection {tenant: v.tenant, index_name: v.index_name}) WHERE c.live_key IS NOT NULL
RETURN c.collection_id AS collection_id, properties(v) AS node
ORDER BY v.changed_us, v.tenant, v.index_name, v.document_id, v.version LIMIT $limit
"""
_NAMED = """
UNWIND $names AS name
MATCH (v:RecordVersion {tenant: $tenant, index_name: $index_name, document_id: name.document_id, version: name.version})
"""
_FORGET_CHUNKS = f"""
{_NAMED} WHERE v.state = 'RETIRED'
MATCH (p:RecordPassage {{
  tenant: $tenant, index_name: $index_name, document_id: v.document_id, version: v.version
}}) WHERE p.ordinal >= 0
WITH p LIMIT $limit DELETE p RETURN count(*) AS deleted
"""
_FORGET_RETIRED = f"{_NAMED} WHERE v.state = 'RETIRED' DELETE v"
_FORGET_FAILED = f"{_NAMED} WHERE v.state = 'FAILED' REMOVE v:RecordHidden"


class VersionNodes(Table):
    """Visibility and repair. The two listings for the sweeper and the reconciler go over all tenants: they answer
    nobody's request, and each row names its index and tenant."""

    async def hidden_versions(self, index: IndexRef) -> frozenset[DocumentVersion]:
        """Versions whose rows a search of this index must drop: pending, retired and failed ones until they are
        swept. NotFound when the index belongs to no collection of the tenant (any more)."""

        async def work(transaction: Transaction) -> frozenset[DocumentVersion]:
            found = await rows(transaction, _HIDDEN, tenant=index.tenant, index_name=index.name)
            if not found:
                raise index_not_found()
            return frozenset(
                DocumentVersion(row["document_id"], row["version"]) for row in found if row["version"] is not None
            )

        return await self._client.read(work)

    async def retired_versions(self, older_than_seconds: float, limit: int) -> list[RetiredVersion]:
        """Versions that were retired or failed at least so long ago, oldest first. Not those of dropped indexes."""
        now = self._now()
        old, abandoned = (now - int(s * 1e6) for s in (older_than_seconds, ABANDONED_SECONDS))
        found = await self._listed(_RETIRED, old=old, abandoned=min(old, abandoned), limit=limit)
        return [nodes.retired_version(row["node"]) for row in found]

    async def pending_versions(
        self, older_than_seconds: float, limit: int, after: VersionRecord | None = None
    ) -> list[VersionRecord]:
        """Versions that were begun at least so long ago and are neither active nor failed, oldest first, with all that
        is needed to submit their jobs again. after: the last one of the page before. Not those of dropped indexes."""
        after_us, *place = pending_place(after)
        old = self._now() - int(older_than_seconds * 1e6)
        found = await self._listed(_PENDING, old=old, after_us=after_us, after=place, limit=limit)
        return [nodes.version_record(row["collection_id"], row["node"]) for row in found]

    async def _listed(self, cypher: str, **parameters: Any) -> list[nodes.Properties]:
        async def work(transaction: Transaction) -> list[nodes.Properties]:
            return await rows(transaction, cypher, **parameters)

        return await self._client.read(work)

    async def forget_versions(self, index: IndexRef, versions: Iterable[DocumentVersion]) -> None:
        """The rows of these versions are gone from every store: they need not be hidden any more. A retired version is
        deleted from the record; of a failed one the record stays. Others are left alone. Does nothing for an index
        that is gone. In several transactions when they had many chunks; a retired version never returns."""
        names = [{"document_id": version.document_id, "version": version.version} for version in versions]

        async def forget(transaction: Transaction) -> bool:
            ledger = await lock_index(transaction, index.tenant, index.name, self._now())
            if ledger is None:
                return True
            [row] = await rows(transaction, _FORGET_CHUNKS, **ledger.scope, names=names, limit=ROWS)
            if row["deleted"] == ROWS:
                return False
            await rows(transaction, _FORGET_RETIRED, **ledger.scope, names=names)
            await rows(transaction, _FORGET_FAILED, **ledger.scope, names=names)
            return True

        while not await self._client.write(forget):
            pass
