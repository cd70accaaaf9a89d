"""What must not be found, what can be swept, and what was promised but never finished."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from typing import Any

from ragmesh_backends.model.collection import IndexRef
from ragmesh_backends.model.document import (
    DocumentVersion,
    MediaType,
    RetiredVersion,
    VersionRecord,
    VersionState,
)
from ragmesh_backends.records.clock import ABANDONED_SECONDS, from_microseconds
from ragmesh_backends.records.paging import pending_place
from ragmesh_backends.records.sqlite.table import Table, index_key

VERSION_COLUMNS = (
    "c.tenant, c.collection_id, c.index_name, v.document_id, v.version, v.state, v.title, v.media_type,"
    " v.size_bytes, v.content_sha256, v.metadata, v.blob_key, v.parsed_key, v.job_id, v.batch_id, v.principal,"
    " v.access_groups, v.chunk_count, v.failure, v.created_us, v.changed_us"
)


class VersionTable(Table):
    """Visibility and repair. The two listings for the sweeper and the reconciler go over all tenants: they answer
    nobody's request, and each row names its index and tenant."""

    async def hidden_versions(self, index: IndexRef) -> frozenset[DocumentVersion]:
        """Versions whose rows a search of this index must drop: pending, retired and failed ones until they are
        swept. NotFound when the index belongs to no collection of the tenant (any more)."""

        def query(connection: sqlite3.Connection) -> frozenset[DocumentVersion]:
            rows = connection.execute(
                "SELECT document_id, version FROM versions WHERE collection_key = ? AND hidden = 1",
                (index_key(connection, index),),
            )
            return frozenset(DocumentVersion(*row) for row in rows)

        return await self._database.read(query)

    async def retired_versions(self, older_than_seconds: float, limit: int) -> list[RetiredVersion]:
        """Versions that were retired or failed at least so long ago, oldest first. Not those of dropped indexes."""
        now = self._now()
        old, abandoned = (now - int(s * 1e6) for s in (older_than_seconds, ABANDONED_SECONDS))

        def query(connection: sqlite3.Connection) -> list[RetiredVersion]:
            rows = connection.execute(
                "SELECT c.tenant, c.index_name, v.document_id, v.version, v.job_id, v.state, v.blob_key,"
                " v.parsed_key, v.changed_us FROM versions AS v JOIN collections AS c USING (collection_key)"
                " WHERE v.hidden = 1 AND v.state IN ('RETIRED', 'FAILED') AND c.deleted_us IS NULL"
                " AND v.changed_us <= ? AND (v.writing = 0 OR v.changed_us <= ?)"
                " ORDER BY v.changed_us, v.version_key LIMIT ?",
                (old, min(old, abandoned), limit),
            )
            return [
                RetiredVersion(
                    index=IndexRef(tenant, name),
                    version=DocumentVersion(document_id, version),
                    job_id=job_id,
                    blob_keys=() if state == "FAILED" else tuple(k for k in (blob_key, parsed_key) if k),
                    retired_at=from_microseconds(changed_us),
                )
                for tenant, name, document_id, version, job_id, state, blob_key, parsed_key, changed_us in rows
            ]

        return await self._database.read(query)

    async def forget_versions(self, index: IndexRef, versions: Iterable[DocumentVersion]) -> None:
        """The rows of these versions are gone from every store: they need not be hidden any more. A retired version is
        deleted from the record; of a failed one the record stays. Others are left alone. Does nothing for an index
        that is gone."""
        wanted = [(version.document_id, version.version) for version in versions]

        def forget(connection: sqlite3.Connection) -> None:
            found = connection.execute(
                "SELECT collection_key FROM collections WHERE tenant = ? AND index_name = ?",
                (index.tenant, index.name),
            ).fetchone()
            if found is None:
                return
            rows = [(found[0], *version) for version in wanted]
            where = "WHERE collection_key = ? AND document_id = ? AND version = ?"
            connection.executemany(
                f"DELETE FROM versions {where} AND state = 'RETIRED'",  # noqa: S608 - constant condition
                rows,
            )
            connection.executemany(
                f"UPDATE versions SET hidden = 0 {where} AND state = 'FAILED'",  # noqa: S608 - constant condition
                rows,
            )

        await self._database.write(forget)

    async def pending_versions(
        self, older_than_seconds: float, limit: int, after: VersionRecord | None = None
    ) -> list[VersionRecord]:
        """Versions that were begun at least so long ago and are neither active nor failed, oldest first, with all that
        is needed to submit their jobs again. after: the last one of the page before. Not those of dropped indexes."""
        old = self._now() - int(older_than_seconds * 1e6)
        place = pending_place(after)

        def query(connection: sqlite3.Connection) -> list[VersionRecord]:
            rows = connection.execute(
                f"SELECT {VERSION_COLUMNS}"  # noqa: S608 - constant column names
                " FROM versions AS v JOIN collections AS c USING (collection_key)"
                " WHERE v.hidden = 1 AND v.state = 'PENDING' AND c.deleted_us IS NULL"
                " AND v.changed_us BETWEEN ? AND ?"
                " AND (v.changed_us, c.tenant, c.index_name, v.document_id, v.version) > (?, ?, ?, ?, ?)"
                " ORDER BY v.changed_us, c.tenant, c.index_name, v.document_id, v.version LIMIT ?",
                (place[0], old, *place, limit),
            )
            return [version_record(row) for row in rows]

        return await self._database.read(query)


def version_record(row: Any) -> VersionRecord:
    """A row of VERSION_COLUMNS as a record."""
    return VersionRecord(
        tenant=row[0],
        collection_id=row[1],
        index=IndexRef(row[0], row[2]),
        document_id=row[3],
        version=row[4],
        state=VersionState(row[5]),
        title=row[6],
        media_type=MediaType(row[7]),
        size_bytes=row[8],
        content_sha256=row[9],
        metadata=json.loads(row[10]),
        blob_key=row[11],
        parsed_key=row[12],
        job_id=row[13],
        batch_id=row[14],
        principal=row[15],
        groups=tuple(json.loads(row[16])),
        chunk_count=row[17],
        failure=row[18],
        created_at=from_microseconds(row[19]),
        changed_at=from_microseconds(row[20]),
    )
