"""Collections: made, read, changed and deleted; and the indexes that deleted ones leave to be swept."""

from __future__ import annotations

import json
from collections.abc import Mapping

from ragmesh_backends.model.collection import Collection, DroppedIndex, IndexRef
from ragmesh_backends.neo4j.client import Transaction, rows
from ragmesh_backends.records.neo4j import nodes
from ragmesh_backends.records.neo4j.ledger import ROWS, lock_collection
from ragmesh_backends.records.neo4j.ordering import ordered
from ragmesh_backends.records.neo4j.table import Table
from ragmesh_backends.records.refusals import collection_exists, collection_not_found

_TAKEN = """
MATCH (c:RecordCollection {tenant: $tenant, index_name: $index_name}) RETURN 1 AS taken
UNION
MATCH (c:RecordCollection {tenant: $tenant, live_key: $live_key}) RETURN 1 AS taken
"""
# Of two that pass the check above at once, MERGE makes the second wait for the first and find its node.
_CREATE = """
MERGE (c:RecordCollection {tenant: $tenant, live_key: $live_key})
ON CREATE SET c += $node
RETURN properties(c) AS node
"""
_GET = "MATCH (c:RecordCollection {tenant: $tenant, live_key: $live_key}) RETURN properties(c) AS node"
_LIST = """
MATCH (c:RecordCollection {tenant: $tenant}) WHERE c.live_key > $after
RETURN properties(c) AS node ORDER BY c.live_key LIMIT $limit
"""
_UPDATE = """
MATCH (c:RecordCollection {tenant: $tenant, index_name: $index_name})
SET c.display_name = coalesce($display_name, c.display_name), c.labels = coalesce($labels, c.labels),
    c.updated_us = $now
RETURN properties(c) AS node
"""
_DELETE = """
MATCH (c:RecordCollection {tenant: $tenant, index_name: $index_name}) SET c.deleted_us = $now REMOVE c.live_key
"""
_LIST_INDEXES = """
MATCH (c:RecordCollection) WHERE c.index_name > $after AND c.live_key IS NOT NULL
RETURN c.tenant AS tenant, c.index_name AS index_name ORDER BY c.index_name LIMIT $limit
"""
_LIST_DROPPED = """
MATCH (c:RecordCollection) WHERE c.deleted_us IS NOT NULL
RETURN properties(c) AS node ORDER BY c.deleted_us, c.created_us, c.tenant, c.index_name LIMIT $limit
"""
_IS_DROPPED = """
MATCH (c:RecordCollection {tenant: $tenant, index_name: $index_name}) WHERE c.deleted_us IS NOT NULL RETURN 1 AS dropped
"""
# Each names every property of its node's composite index: an index is used for all of its properties or not at all.
_SWEEP = (
    """
    MATCH (n:RecordPassage {tenant: $tenant, index_name: $index_name})
    WHERE n.document_id >= '' AND n.version IS NOT NULL AND n.ordinal IS NOT NULL
    WITH n LIMIT $limit DELETE n RETURN count(*) AS deleted
    """,
    """
    MATCH (n:RecordVersion {tenant: $tenant, index_name: $index_name})
    WHERE n.document_id >= '' AND n.version IS NOT NULL
    WITH n LIMIT $limit DELETE n RETURN count(*) AS deleted
    """,
    """
    MATCH (n:RecordDocument {tenant: $tenant, index_name: $index_name}) WHERE n.document_key >= ''
    WITH n LIMIT $limit DELETE n RETURN count(*) AS deleted
    """,
    """
    MATCH (n:RecordCollection {tenant: $tenant, index_name: $index_name}) WHERE n.deleted_us IS NOT NULL
    WITH n LIMIT $limit DELETE n RETURN count(*) AS deleted
    """,
)


class CollectionNodes(Table):
    """The collections of each tenant. Index names are unique for a tenant."""

    async def create_collection(self, collection: Collection) -> Collection:
        """Keep a new collection and return it as kept. AlreadyExists when its id or index name is taken."""
        node = nodes.of_collection(collection)
        key = {"tenant": collection.tenant, "live_key": node["live_key"]}

        async def work(transaction: Transaction) -> Collection:
            if await rows(transaction, _TAKEN, **key, index_name=collection.index.name):
                raise collection_exists(collection.collection_id)
            [row] = await rows(transaction, _CREATE, **key, node=node)
            kept = nodes.collection(row["node"])
            if kept.index != collection.index:
                raise collection_exists(collection.collection_id)
            return kept

        return await self._client.write(work)

    async def get_collection(self, tenant: str, collection_id: str) -> Collection:
        """NotFound (COLLECTION_NOT_FOUND) when it is absent or another tenant's."""

        async def work(transaction: Transaction) -> Collection:
            found = await rows(transaction, _GET, tenant=tenant, live_key=ordered(collection_id))
            if not found:
                raise collection_not_found(collection_id)
            return nodes.collection(found[0]["node"])

        return await self._client.read(work)

    async def list_collections(self, tenant: str, after: str, limit: int) -> list[Collection]:
        """At most `limit` collections with an id greater than `after` (empty: from the start), by id."""

        async def work(transaction: Transaction) -> list[Collection]:
            found = await rows(transaction, _LIST, tenant=tenant, after=ordered(after), limit=limit)
            return [nodes.collection(row["node"]) for row in found]

        return await self._client.read(work)

    async def update_collection(
        self,
        tenant: str,
        collection_id: str,
        *,
        display_name: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Collection:
        """Change what may be changed; None leaves a field as it is. NotFound as for `get_collection`."""
        given = {"display_name": display_name, "labels": None if labels is None else json.dumps(dict(labels))}

        async def work(transaction: Transaction) -> Collection:
            ledger = await lock_collection(transaction, tenant, collection_id, self._now())
            [row] = await rows(transaction, _UPDATE, **ledger.scope, **given, now=ledger.now)
            return nodes.collection(row["node"])

        return await self._client.write(work)

    async def delete_collection(self, tenant: str, collection_id: str) -> Collection:
        """Take a collection, its documents and its versions from all readers at once, and return what it was. Its
        index is listed by `list_dropped_indexes` from then on; the id may be used again. NotFound when absent."""

        async def work(transaction: Transaction) -> Collection:
            ledger = await lock_collection(transaction, tenant, collection_id, self._now())
            await rows(transaction, _DELETE, **ledger.scope, now=ledger.now)
            return nodes.collection(ledger.collection)

        return await self._client.write(work)

    async def list_indexes(self, after: str, limit: int) -> list[IndexRef]:
        """Indexes in use, of all tenants, with a name greater than `after`, sorted by name."""

        async def work(transaction: Transaction) -> list[IndexRef]:
            found = await rows(transaction, _LIST_INDEXES, after=after, limit=limit)
            return [IndexRef(row["tenant"], row["index_name"]) for row in found]

        return await self._client.read(work)

    async def list_dropped_indexes(self, limit: int = 100) -> list[DroppedIndex]:
        """Indexes of deleted collections of all tenants whose rows are still to be swept, oldest first."""

        async def work(transaction: Transaction) -> list[DroppedIndex]:
            found = await rows(transaction, _LIST_DROPPED, limit=limit)
            return [nodes.dropped_index(row["node"]) for row in found]

        return await self._client.read(work)

    async def forget_dropped_index(self, index: IndexRef) -> None:
        """Delete what the record still holds of a dropped index, once its rows and blobs are gone everywhere else.
        In several transactions; a repeated call goes on where the last one stopped. Does nothing for an index
        in use."""
        scope = {"tenant": index.tenant, "index_name": index.name}

        async def sweep(transaction: Transaction) -> bool:
            if not await rows(transaction, _IS_DROPPED, **scope):
                return True
            for cypher in _SWEEP:
                [row] = await rows(transaction, cypher, **scope, limit=ROWS)
                if row["deleted"]:
                    return False
            return True

        while not await self._client.write(sweep):
            pass
