"""Collections: made, read, changed and deleted; and the indexes that deleted ones leave to be swept."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from typing import Any

from ragmesh_backends.model.collection import Collection, DroppedIndex, IndexRef, IndexSpec, Language
from ragmesh_backends.records.clock import from_microseconds, to_microseconds
from ragmesh_backends.records.refusals import collection_exists, collection_not_found
from ragmesh_backends.records.sqlite.table import Table, collection_key

COLLECTION_COLUMNS = (
    "tenant, collection_id, display_name, index_name, embedding_model, dimension, language, metric, generation,"
    " labels, documents_ready, documents_pending, documents_failed, created_us, updated_us"
)
_SWEEP_ROWS = 200
"""Versions deleted in one transaction: others write in between."""


class CollectionTable(Table):
    """The collections of each tenant. Index names are unique for a tenant."""

    async def create_collection(self, collection: Collection) -> Collection:
        """Keep a new collection and return it as kept. AlreadyExists when its id or index name is taken."""

        def insert(connection: sqlite3.Connection) -> Collection:
            try:
                connection.execute(
                    f"INSERT INTO collections ({COLLECTION_COLUMNS}) VALUES"  # noqa: S608 - constant column names
                    " (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, 0, ?, ?)",
                    (
                        collection.tenant,
                        collection.collection_id,
                        collection.display_name,
                        collection.index.name,
                        collection.spec.embedding_model,
                        collection.spec.dimension,
                        collection.spec.language,
                        collection.spec.metric,
                        collection.generation,
                        json.dumps(collection.labels),
                        to_microseconds(collection.created_at),
                        to_microseconds(collection.updated_at),
                    ),
                )
            except sqlite3.IntegrityError as error:
                raise collection_exists(collection.collection_id) from error
            return _get(connection, collection.tenant, collection.collection_id)

        return await self._database.write(insert)

    async def get_collection(self, tenant: str, collection_id: str) -> Collection:
        """NotFound (COLLECTION_NOT_FOUND) when it is absent or another tenant's."""
        return await self._database.read(lambda connection: _get(connection, tenant, collection_id))

    async def list_collections(self, tenant: str, after: str, limit: int) -> list[Collection]:
        """At most `limit` collections with an id greater than `after` (empty: from the start), by id."""

        def query(connection: sqlite3.Connection) -> list[Collection]:
            rows = connection.execute(
                f"SELECT {COLLECTION_COLUMNS} FROM collections"  # noqa: S608 - constant column names
                " WHERE tenant = ? AND deleted_us IS NULL AND collection_id > ? ORDER BY collection_id LIMIT ?",
                (tenant, after, limit),
            )
            return [collection_record(row) for row in rows]

        return await self._database.read(query)

    async def update_collection(
        self,
        tenant: str,
        collection_id: str,
        *,
        display_name: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Collection:
        """Change what may be changed; None leaves a field as it is. NotFound as for `get_collection`."""

        def update(connection: sqlite3.Connection) -> Collection:
            connection.execute(
                "UPDATE collections SET display_name = coalesce(?, display_name), labels = coalesce(?, labels),"
                " updated_us = ? WHERE collection_key = ?",
                (
                    display_name,
                    None if labels is None else json.dumps(dict(labels)),
                    self._now(),
                    collection_key(connection, tenant, collection_id),
                ),
            )
            return _get(connection, tenant, collection_id)

        return await self._database.write(update)

    async def delete_collection(self, tenant: str, collection_id: str) -> Collection:
        """Take a collection, its documents and its versions from all readers at once, and return what it was. Its
        index is listed by `list_dropped_indexes` from then on; the id may be used again. NotFound when absent."""

        def delete(connection: sqlite3.Connection) -> Collection:
            collection = _get(connection, tenant, collection_id)
            connection.execute(
                "UPDATE collections SET deleted_us = ? WHERE collection_key = ?",
                (self._now(), collection_key(connection, tenant, collection_id)),
            )
            return collection

        return await self._database.write(delete)

    async def list_indexes(self, after: str, limit: int) -> list[IndexRef]:
        """Indexes in use, of all tenants, with a name greater than `after`, sorted by name."""

        def query(connection: sqlite3.Connection) -> list[IndexRef]:
            rows = connection.execute(
                "SELECT tenant, index_name FROM collections WHERE deleted_us IS NULL AND index_name > ?"
                " ORDER BY index_name LIMIT ?",
                (after, limit),
            )
            return [IndexRef(tenant, name) for tenant, name in rows]

        return await self._database.read(query)

    async def list_dropped_indexes(self, limit: int = 100) -> list[DroppedIndex]:
        """Indexes of deleted collections of all tenants whose rows are still to be swept, oldest first."""

        def query(connection: sqlite3.Connection) -> list[DroppedIndex]:
            rows = connection.execute(
                "SELECT tenant, index_name, collection_id, deleted_us FROM collections"
                " WHERE deleted_us IS NOT NULL ORDER BY deleted_us, collection_key LIMIT ?",
                (limit,),
            )
            return [
                DroppedIndex(IndexRef(tenant, name), collection_id, from_microseconds(deleted_us))
                for tenant, name, collection_id, deleted_us in rows
            ]

        return await self._database.read(query)

    async def forget_dropped_index(self, index: IndexRef) -> None:
        """Delete what the record still holds of a dropped index, once its rows and blobs are gone everywhere else.
        In several transactions; a repeated call goes on where the last one stopped. Does nothing for an index
        in use."""

        def sweep(connection: sqlite3.Connection) -> bool:
            row = connection.execute(
                "SELECT collection_key FROM collections WHERE tenant = ? AND index_name = ? AND deleted_us IS NOT NULL",
                (index.tenant, index.name),
            ).fetchone()
            if row is None:
                return True
            for table, key in (("versions", "version_key"), ("documents", "document_key")):
                deleted = connection.execute(
                    f"DELETE FROM {table} WHERE {key} IN"  # noqa: S608 - constant names
                    f" (SELECT {key} FROM {table} WHERE collection_key = ? LIMIT ?)",
                    (row[0], _SWEEP_ROWS),
                ).rowcount
                if deleted == _SWEEP_ROWS:
                    return False
            connection.execute("DELETE FROM collections WHERE collection_key = ?", row)
            return True

        while not await self._database.write(sweep):
            pass


def _get(connection: sqlite3.Connection, tenant: str, collection_id: str) -> Collection:
    row = connection.execute(
        f"SELECT {COLLECTION_COLUMNS} FROM collections"  # noqa: S608 - constant column names
        " WHERE tenant = ? AND collection_id = ? AND deleted_us IS NULL",
        (tenant, collection_id),
    ).fetchone()
    if row is None:
        raise collection_not_found(collection_id)
    return collection_record(row)


def collection_record(row: Any) -> Collection:
    return Collection(
        tenant=row[0],
        collection_id=row[1],
        display_name=row[2],
        index=IndexRef(row[0], row[3]),
        spec=IndexSpec(embedding_model=row[4], dimension=row[5], language=Language(row[6]), metric=row[7]),
        generation=row[8],
        labels=json.loads(row[9]),
        documents_ready=row[10],
        documents_pending=row[11],
        documents_failed=row[12],
        created_at=from_microseconds(row[13]),
        updated_at=from_microseconds(row[14]),
    )
