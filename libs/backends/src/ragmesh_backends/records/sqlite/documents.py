"""Documents and their versions: begun, activated or failed, read and deleted."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from ragmesh_backends.model.collection import IndexRef
from ragmesh_backends.model.document import (
    Activation,
    Chunk,
    Document,
    DocumentState,
    DocumentVersion,
    MediaType,
    NewVersion,
    ReadyVersion,
    VersionRecord,
    VersionState,
)
from ragmesh_backends.records.clock import from_microseconds
from ragmesh_backends.records.generation import new_generation
from ragmesh_backends.records.refusals import document_not_found
from ragmesh_backends.records.sqlite.activation import activate
from ragmesh_backends.records.sqlite.table import Table, collection_key, index_key
from ragmesh_backends.records.sqlite.versions import VERSION_COLUMNS, version_record

DOCUMENT_COLUMNS = (
    "document_id, title, media_type, size_bytes, content_sha256, metadata, state, active_version, latest_version,"
    " chunk_count, failure, created_us, updated_us"
)


class DocumentTable(Table):
    """The documents of each collection. A document shows the title, size and metadata of its active version, or of
    its newest one while none is active."""

    async def begin_versions(self, index: IndexRef, items: Sequence[NewVersion]) -> list[DocumentVersion]:
        """Give each item the next version number of its document, in the order of the items; the new versions are
        hidden. A job that asks again for the same document gets its number again, and a failed version is pending
        again then. index: where its blobs and rows go. NotFound: no collection has it (any more), though another may
        have the same id."""

        def begin(connection: sqlite3.Connection) -> list[DocumentVersion]:
            key, now = index_key(connection, index), self._now()
            return [_begin(connection, key, item, now) for item in items]

        return await self._database.write(begin)

    async def activate_versions(self, index: IndexRef, items: Sequence[ReadyVersion]) -> list[Activation]:
        """Make each version the one that is searched if it is newer than the active one, and replace the
        collection's generation; all in one transaction, one result for each item in order. index: where the rows are.
        NotFound: no collection has it (any more)."""

        def flip(connection: sqlite3.Connection) -> list[Activation]:
            key, now = index_key(connection, index), self._now()
            results = [activate(connection, key, item, now) for item in items]
            _renew(connection, key, now)
            return results

        return await self._database.write(flip)

    async def fail_version(self, index: IndexRef, document_id: str, version: int, message: str) -> None:
        """Record that a pending version cannot be ingested, with one sentence. It stays hidden until its rows are
        swept. Does nothing for a version that is not pending. NotFound: no collection has the index (any more), no
        such version."""

        def fail(connection: sqlite3.Connection) -> None:
            key, now = index_key(connection, index), self._now()
            where = (key, document_id, version)
            known = connection.execute(
                "UPDATE versions SET writing = 0 WHERE collection_key = ? AND document_id = ? AND version = ?", where
            ).rowcount
            if not known:
                raise document_not_found(document_id)
            failed = connection.execute(
                "UPDATE versions SET state = 'FAILED', failure = ?, changed_us = ?"
                " WHERE collection_key = ? AND document_id = ? AND version = ? AND state = 'PENDING'",
                (message, now, *where),
            ).rowcount
            if failed:
                connection.execute(
                    "UPDATE documents SET failure = ?, updated_us = ?,"
                    " state = CASE WHEN active_version = 0 THEN 'FAILED' ELSE state END"
                    " WHERE collection_key = ? AND document_id = ? AND latest_version = ? AND state <> 'DELETED'",
                    (message, now, *where),
                )

        await self._database.write(fail)

    async def get_document(self, tenant: str, collection_id: str, document_id: str) -> Document:
        """NotFound: no collection, or no document."""

        def query(connection: sqlite3.Connection) -> Document:
            row = connection.execute(
                f"SELECT {DOCUMENT_COLUMNS} FROM documents"  # noqa: S608 - constant column names
                " WHERE collection_key = ? AND document_id = ? AND state <> 'DELETED'",
                (collection_key(connection, tenant, collection_id), document_id),
            ).fetchone()
            if row is None:
                raise document_not_found(document_id)
            return document_record(tenant, collection_id, row)

        return await self._database.read(query)

    async def list_documents(self, tenant: str, collection_id: str, after: str, limit: int) -> list[Document]:
        """At most `limit` documents with an id greater than `after` (empty: from the start), by id."""

        def query(connection: sqlite3.Connection) -> list[Document]:
            rows = connection.execute(
                f"SELECT {DOCUMENT_COLUMNS} FROM documents WHERE collection_key = ?"  # noqa: S608 - constant column names
                " AND document_id > ? AND state <> 'DELETED' ORDER BY document_id LIMIT ?",
                (collection_key(connection, tenant, collection_id), after, limit),
            )
            return [document_record(tenant, collection_id, row) for row in rows]

        return await self._database.read(query)

    async def get_version(self, tenant: str, collection_id: str, document_id: str, version: int) -> VersionRecord:
        """One version in whatever state, also of a document that was deleted, until it is forgotten. NotFound then."""

        def query(connection: sqlite3.Connection) -> VersionRecord:
            row = connection.execute(
                f"SELECT {VERSION_COLUMNS}"  # noqa: S608 - constant column names
                " FROM versions AS v JOIN collections AS c USING (collection_key)"
                " WHERE v.collection_key = ? AND v.document_id = ? AND v.version = ?",
                (collection_key(connection, tenant, collection_id), document_id, version),
            ).fetchone()
            if row is None:
                raise document_not_found(document_id)
            return version_record(row)

        return await self._database.read(query)

    async def get_versions(
        self, tenant: str, collection_id: str, versions: Sequence[DocumentVersion]
    ) -> dict[DocumentVersion, VersionRecord]:
        """As `get_version`, of several in one read. One that is not there, and all of a collection that is not there,
        are left out."""

        def query(connection: sqlite3.Connection) -> dict[DocumentVersion, VersionRecord]:
            rows = connection.execute(
                f"SELECT {VERSION_COLUMNS}"  # noqa: S608 - constant column names
                " FROM json_each(?) AS wanted CROSS JOIN collections AS c CROSS JOIN versions AS v"
                " ON v.collection_key = c.collection_key AND v.document_id = json_extract(wanted.value, '$[0]')"
                " AND v.version = json_extract(wanted.value, '$[1]')"
                " WHERE c.tenant = ? AND c.collection_id = ? AND c.deleted_us IS NULL",
                (json.dumps([[one.document_id, one.version] for one in versions]), tenant, collection_id),
            )
            records = [version_record(row) for row in rows]
            return {DocumentVersion(record.document_id, record.version): record for record in records}

        return await self._database.read(query)

    async def list_chunks(
        self, tenant: str, collection_id: str, document_id: str, after_ordinal: int, limit: int
    ) -> list[Chunk]:
        """Chunks of the active version with an ordinal greater than `after_ordinal` (-1: from the start), in
        order; empty while no version is active. Their text is empty: slice the parsed text. NotFound: no document."""

        def query(connection: sqlite3.Connection) -> list[Chunk]:
            key = collection_key(connection, tenant, collection_id)
            found = connection.execute(
                "SELECT d.active_version, v.version_key, v.title FROM documents AS d LEFT JOIN versions AS v"
                " ON v.collection_key = d.collection_key AND v.document_id = d.document_id"
                " AND v.version = d.active_version"
                " WHERE d.collection_key = ? AND d.document_id = ? AND d.state <> 'DELETED'",
                (key, document_id),
            ).fetchone()
            if found is None:
                raise document_not_found(document_id)
            version, version_key, title = found
            rows = connection.execute(
                "SELECT chunk_id, ordinal, coalesce(title, ?), heading_path, start_offset, end_offset, page"
                " FROM chunks WHERE version_key = ? AND ordinal > ? ORDER BY ordinal LIMIT ?",
                (title, version_key, after_ordinal, limit),
            )
            return [
                Chunk(
                    chunk_id=chunk_id,
                    document_id=document_id,
                    version=version,
                    ordinal=ordinal,
                    text="",
                    title=chunk_title,
                    heading_path=tuple(json.loads(path)),
                    start=start,
                    end=end,
                    page=page,
                )
                for chunk_id, ordinal, chunk_title, path, start, end, page in rows
            ]

        return await self._database.read(query)

    async def delete_document(self, tenant: str, collection_id: str, document_id: str) -> list[DocumentVersion]:
        """Take a document from all readers at once and return its versions, oldest first: hidden from now on, until
        they are swept. The collection's generation is replaced. NotFound: no collection, no document."""

        def delete(connection: sqlite3.Connection) -> list[DocumentVersion]:
            key, now = collection_key(connection, tenant, collection_id), self._now()
            gone = connection.execute(
                "UPDATE documents SET state = 'DELETED', title = '', metadata = '{}', failure = '',"
                " content_sha256 = '', active_version = 0, chunk_count = 0, updated_us = ?"
                " WHERE collection_key = ? AND document_id = ? AND state <> 'DELETED'",
                (now, key, document_id),
            ).rowcount
            if not gone:
                raise document_not_found(document_id)
            connection.execute(
                "UPDATE versions SET state = 'RETIRED', hidden = 1, changed_us = ?"
                " WHERE collection_key = ? AND document_id = ? AND state <> 'RETIRED'",
                (now, key, document_id),
            )
            _renew(connection, key, now)
            versions = connection.execute(
                "SELECT version FROM versions WHERE collection_key = ? AND document_id = ? ORDER BY version",
                (key, document_id),
            )
            return [DocumentVersion(document_id, version) for (version,) in versions]

        return await self._database.write(delete)


def _begin(connection: sqlite3.Connection, key: int, item: NewVersion, now: int) -> DocumentVersion:
    same_job = connection.execute(
        "SELECT version, version_key, state FROM versions WHERE collection_key = ? AND document_id = ? AND job_id = ?",
        (key, item.document_id, item.job_id),
    ).fetchone()
    if same_job is not None:
        if same_job[2] == VersionState.FAILED:
            _reopen(connection, same_job[1], now)
        return DocumentVersion(item.document_id, same_job[0])
    shown = (item.title, item.media_type, item.size_bytes, item.content_sha256, json.dumps(item.metadata))
    found = connection.execute(
        "SELECT latest_version, state FROM documents WHERE collection_key = ? AND document_id = ?",
        (key, item.document_id),
    ).fetchone()
    version = 1 if found is None else found[0] + 1
    if found is None:
        connection.execute(
            "INSERT INTO documents (collection_key, document_id, title, media_type, size_bytes, content_sha256,"
            " metadata, state, latest_version, created_us, updated_us)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, 'PENDING', 1, ?, ?)",
            (key, item.document_id, *shown, now, now),
        )
    elif found[1] == DocumentState.READY:
        connection.execute(
            "UPDATE documents SET latest_version = ? WHERE collection_key = ? AND document_id = ?",
            (version, key, item.document_id),
        )
    else:
        connection.execute(
            "UPDATE documents SET title = ?, media_type = ?, size_bytes = ?, content_sha256 = ?, metadata = ?,"
            " created_us = CASE WHEN state = 'DELETED' THEN ? ELSE created_us END,"
            " state = 'PENDING', failure = '', latest_version = ?, updated_us = ?"
            " WHERE collection_key = ? AND document_id = ?",
            (*shown, now, version, now, key, item.document_id),
        )
    connection.execute(
        "INSERT INTO versions (collection_key, document_id, version, state, hidden, writing, title, media_type,"
        " size_bytes, content_sha256, metadata, blob_key, job_id, batch_id, principal, access_groups,"
        " created_us, changed_us)"
        " VALUES (?, ?, ?, 'PENDING', 1, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            key,
            item.document_id,
            version,
            *shown,
            item.blob_key,
            item.job_id,
            item.batch_id,
            item.principal,
            json.dumps(item.groups),
            now,
            now,
        ),
    )
    return DocumentVersion(item.document_id, version)


def _reopen(connection: sqlite3.Connection, version_key: int, now: int) -> None:
    """A failed version whose job is tried again is pending once more."""
    connection.execute(
        "UPDATE versions SET state = 'PENDING', hidden = 1, writing = 1, failure = '', changed_us = ?"
        " WHERE version_key = ?",
        (now, version_key),
    )
    connection.execute(
        "UPDATE documents SET state = 'PENDING', failure = '', updated_us = ? WHERE state = 'FAILED'"
        " AND (collection_key, document_id) ="
        " (SELECT collection_key, document_id FROM versions WHERE version_key = ?)",
        (now, version_key),
    )


def _renew(connection: sqlite3.Connection, key: int, now: int) -> None:
    connection.execute(
        "UPDATE collections SET generation = ?, updated_us = ? WHERE collection_key = ?",
        (new_generation(), now, key),
    )


def document_record(tenant: str, collection_id: str, row: Any) -> Document:
    return Document(
        tenant=tenant,
        collection_id=collection_id,
        document_id=row[0],
        title=row[1],
        media_type=MediaType(row[2]),
        size_bytes=row[3],
        content_sha256=row[4],
        metadata=json.loads(row[5]),
        state=DocumentState(row[6]),
        active_version=row[7],
        latest_version=row[8],
        chunk_count=row[9],
        failure=row[10],
        created_at=from_microseconds(row[11]),
        updated_at=from_microseconds(row[12]),
    )
