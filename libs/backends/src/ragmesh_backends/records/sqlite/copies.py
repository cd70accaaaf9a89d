"""Copies of the record for backups: read as one snapshot, written so that nobody sees them before all are there.

A collection that is being restored counts as deleted, at a time that no sweeper reaches (STAGED_AT); `publish` brings
all of them to light in one transaction, and takes away those that they replace.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from ragmesh_backends.model.collection import Collection, IndexRef
from ragmesh_backends.model.copies import DELETED, STAGED_AT, DocumentCopy, DocumentMark, Published
from ragmesh_backends.model.document import Chunk, VersionRecord, VersionState
from ragmesh_backends.model.key import KeyRecord
from ragmesh_backends.records.clock import to_microseconds
from ragmesh_backends.records.generation import new_generation
from ragmesh_backends.records.keys import put_key
from ragmesh_backends.records.refusals import collection_exists, restore_overtaken
from ragmesh_backends.records.sqlite.collections import COLLECTION_COLUMNS, collection_record
from ragmesh_backends.records.sqlite.documents import DOCUMENT_COLUMNS, document_record
from ragmesh_backends.records.sqlite.table import Table, index_key
from ragmesh_backends.records.sqlite.versions import VERSION_COLUMNS, version_record

LISTING_SECONDS = 120.0
"""For the marks of a whole collection: half a million took 2.5 s on two cores."""

_STAGED = to_microseconds(STAGED_AT)


class SqliteCopies(Table):
    """The database must have been opened with RECORDS_SCHEMA and KEYS_SCHEMA. Errors as of the record store."""

    async def collections(self, tenant: str) -> list[Collection]:
        """All collections of the tenant ("": of all tenants), by tenant and id."""

        def query(connection: sqlite3.Connection) -> list[Collection]:
            rows = connection.execute(
                f"SELECT {COLLECTION_COLUMNS} FROM collections"  # noqa: S608 - constant column names
                " WHERE deleted_us IS NULL AND (? = '' OR tenant = ?) ORDER BY tenant, collection_id",
                (tenant, tenant),
            )
            return [collection_record(row) for row in rows]

        return await self._database.read(query)

    async def marks(self, index: IndexRef) -> list[DocumentMark]:
        """Every document of the index, deleted ones too, at one moment. NotFound when no collection has the index."""

        def query(connection: sqlite3.Connection) -> list[DocumentMark]:
            rows = connection.execute(
                "SELECT document_id, state, active_version, latest_version, chunk_count, updated_us FROM documents"
                " WHERE collection_key = ? ORDER BY document_id",
                (index_key(connection, index),),
            )
            return [DocumentMark(*row) for row in rows]

        return await self._database.read(query, cap_seconds=LISTING_SECONDS)

    async def copies(self, index: IndexRef, document_ids: Sequence[str]) -> list[DocumentCopy]:
        """These documents, those that are there, at one moment. NotFound as for `marks`."""

        def query(connection: sqlite3.Connection) -> list[DocumentCopy]:
            key = index_key(connection, index)
            (collection_id,) = connection.execute(
                "SELECT collection_id FROM collections WHERE collection_key = ?", (key,)
            ).fetchone()
            found = (_copy(connection, key, index.tenant, collection_id, one) for one in dict.fromkeys(document_ids))
            return [copy for copy in found if copy is not None]

        return await self._database.read(query, cap_seconds=LISTING_SECONDS)

    async def staged(self, tenant: str) -> list[IndexRef]:
        """What restores of this tenant have begun and not ended."""

        def query(connection: sqlite3.Connection) -> list[IndexRef]:
            rows = connection.execute(
                "SELECT index_name FROM collections WHERE tenant = ? AND deleted_us = ?", (tenant, _STAGED)
            )
            return [IndexRef(tenant, name) for (name,) in rows]

        return await self._database.read(query)

    async def stage(self, collection: Collection) -> None:
        """Begin a collection that nobody sees. Its index name must be new. Bears repetition."""

        def insert(connection: sqlite3.Connection) -> None:
            connection.execute(
                f"INSERT OR IGNORE INTO collections ({COLLECTION_COLUMNS}, deleted_us) VALUES"  # noqa: S608 - constant column names
                " (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, 0, ?, ?, ?)",
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
                    _STAGED,
                ),
            )

        await self._database.write(insert)

    async def add(self, index: IndexRef, copies: Sequence[DocumentCopy]) -> None:
        """Put documents into a staged collection; one that is there already stays as it is. Aborted when the
        collection is not staged any more."""

        def insert(connection: sqlite3.Connection) -> None:
            key = _staged_key(connection, index)
            for copy in copies:
                _add(connection, key, copy)

        await self._database.write(insert)

    async def abandon(self, indexes: Sequence[IndexRef]) -> None:
        """Leave staged collections to the sweeper. Does nothing for those that are not staged."""
        now = self._now()

        def drop(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "UPDATE collections SET deleted_us = ? WHERE tenant = ? AND index_name = ? AND deleted_us = ?",
                [(now, index.tenant, index.name, _STAGED) for index in indexes],
            )

        await self._database.write(drop)

    async def publish(self, indexes: Sequence[IndexRef], keys: Sequence[KeyRecord], *, replace: bool) -> Published:
        """Show staged collections and keep keys, all at one moment. replace: take all other collections of the tenants
        away in the same moment. Without it AlreadyExists when one of the ids is taken. Aborted when one is not staged
        any more. Bears repetition: when all is shown already nothing changes. A key that is there already stays."""

        def show(connection: sqlite3.Connection) -> Published:
            collection_keys = [_staged_key(connection, index, published=True) for index in indexes]
            kept = tuple(key.key_id for key in keys if not put_key(connection, key))
            if indexes and all(_is_live(connection, key) for key in collection_keys):
                return Published(None, kept)
            tenants = list(dict.fromkeys(index.tenant for index in indexes))
            others = connection.execute(
                f"SELECT {COLLECTION_COLUMNS}, collection_key FROM collections"  # noqa: S608 - constant column names
                " WHERE deleted_us IS NULL AND tenant IN (SELECT value FROM json_each(?))"
                " AND collection_key NOT IN (SELECT value FROM json_each(?)) ORDER BY tenant, collection_id",
                (json.dumps(tenants), json.dumps(collection_keys)),
            ).fetchall()
            if replace:
                connection.executemany(
                    "UPDATE collections SET deleted_us = ? WHERE collection_key = ?",
                    [(self._now(), row[-1]) for row in others],
                )
            for index, key in zip(indexes, collection_keys, strict=True):
                try:
                    connection.execute(
                        "UPDATE collections SET deleted_us = NULL, generation = ? WHERE collection_key = ?",
                        (new_generation(), key),
                    )
                except sqlite3.IntegrityError as error:
                    raise collection_exists(_collection_id(connection, key, index)) from error
            return Published(tuple(collection_record(row) for row in others) if replace else (), kept)

        return await self._database.write(show)


def _staged_key(connection: sqlite3.Connection, index: IndexRef, *, published: bool = False) -> int:
    row = connection.execute(
        "SELECT collection_key FROM collections WHERE tenant = ? AND index_name = ?"
        " AND (deleted_us = ? OR (? AND deleted_us IS NULL))",
        (index.tenant, index.name, _STAGED, published),
    ).fetchone()
    if row is None:
        raise restore_overtaken()
    key: int = row[0]
    return key


def _is_live(connection: sqlite3.Connection, key: int) -> bool:
    found = connection.execute(
        "SELECT 1 FROM collections WHERE collection_key = ? AND deleted_us IS NULL", (key,)
    ).fetchone()
    return found is not None


def _collection_id(connection: sqlite3.Connection, key: int, index: IndexRef) -> str:
    row = connection.execute("SELECT collection_id FROM collections WHERE collection_key = ?", (key,)).fetchone()
    return str(row[0]) if row else index.name


def _copy(
    connection: sqlite3.Connection, key: int, tenant: str, collection_id: str, document_id: str
) -> DocumentCopy | None:
    found = connection.execute(
        "SELECT document_id, state, active_version, latest_version, chunk_count, updated_us FROM documents"
        " WHERE collection_key = ? AND document_id = ?",
        (key, document_id),
    ).fetchone()
    if found is None:
        return None
    mark = DocumentMark(*found)
    if mark.state == DELETED:
        return DocumentCopy(mark, None)
    row = connection.execute(
        f"SELECT {DOCUMENT_COLUMNS} FROM documents"  # noqa: S608 - constant column names
        " WHERE collection_key = ? AND document_id = ?",
        (key, document_id),
    ).fetchone()
    versions = connection.execute(
        f"SELECT {VERSION_COLUMNS}, v.version_key"  # noqa: S608 - constant column names
        " FROM versions AS v JOIN collections AS c USING (collection_key)"
        " WHERE v.collection_key = ? AND v.document_id = ? AND v.state IN ('ACTIVE', 'PENDING', 'FAILED')"
        " ORDER BY v.version",
        (key, document_id),
    ).fetchall()
    records = [version_record(version) for version in versions]
    chunks = [
        chunk
        for record, version in zip(records, versions, strict=True)
        if record.state is VersionState.ACTIVE
        for chunk in _chunks(connection, version[-1], record)
    ]
    return DocumentCopy(mark, document_record(tenant, collection_id, row), tuple(records), tuple(chunks))


def _chunks(connection: sqlite3.Connection, version_key: int, version: VersionRecord) -> list[Chunk]:
    rows = connection.execute(
        "SELECT chunk_id, ordinal, coalesce(title, ?), heading_path, start_offset, end_offset, page"
        " FROM chunks WHERE version_key = ? ORDER BY ordinal",
        (version.title, version_key),
    )
    return [
        Chunk(chunk_id, version.document_id, version.version, ordinal, "", title, tuple(json.loads(path)), *where)
        for chunk_id, ordinal, title, path, *where in rows
    ]


def _add(connection: sqlite3.Connection, key: int, copy: DocumentCopy) -> None:
    mark, document = copy.mark, copy.document
    shown: tuple[object, ...] = ("", "text/plain", 0, "", "{}", "", mark.updated_us)
    if document is not None:
        shown = (
            document.title,
            document.media_type,
            document.size_bytes,
            document.content_sha256,
            json.dumps(document.metadata),
            document.failure,
            to_microseconds(document.created_at),
        )
    added = connection.execute(
        "INSERT OR IGNORE INTO documents (collection_key, document_id, state, active_version, latest_version,"
        " chunk_count, updated_us, title, media_type, size_bytes, content_sha256, metadata, failure, created_us)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            key,
            mark.document_id,
            mark.state,
            mark.active_version,
            mark.latest_version,
            mark.chunk_count,
            mark.updated_us,
            *shown,
        ),
    ).rowcount
    for version in copy.versions if added else ():
        waits = version.state is VersionState.PENDING
        version_key = connection.execute(
            "INSERT INTO versions (collection_key, document_id, version, state, hidden, writing, title, media_type,"
            " size_bytes, content_sha256, metadata, blob_key, parsed_key, job_id, batch_id, principal, access_groups,"
            " chunk_count, failure, created_us, changed_us)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                key,
                version.document_id,
                version.version,
                version.state,
                waits,
                waits,
                version.title,
                version.media_type,
                version.size_bytes,
                version.content_sha256,
                json.dumps(version.metadata),
                version.blob_key,
                version.parsed_key,
                version.job_id,
                version.batch_id,
                version.principal,
                json.dumps(version.groups),
                version.chunk_count,
                version.failure,
                to_microseconds(version.created_at),
                to_microseconds(version.changed_at),
            ),
        ).lastrowid
        if version.state is VersionState.ACTIVE:
            connection.executemany(
                "INSERT INTO chunks (version_key, ordinal, chunk_id, title, heading_path, start_offset, end_offset,"
                " page) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        version_key,
                        chunk.ordinal,
                        chunk.chunk_id,
                        None if chunk.title == version.title else chunk.title,
                        json.dumps(chunk.heading_path),
                        chunk.start,
                        chunk.end,
                        chunk.page,
                    )
                    for chunk in copy.chunks
                ],
            )
