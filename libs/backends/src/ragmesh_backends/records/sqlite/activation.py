"""The flip: one version becomes the one that is searched, the version before it is retired."""

from __future__ import annotations

import json
import sqlite3

from ragmesh_backends.model.document import Activation, ActivationOutcome, DocumentVersion, ReadyVersion


def activate(connection: sqlite3.Connection, key: int, item: ReadyVersion, now: int) -> Activation:
    """Compare and set: only a pending version that is newer than the active one is activated. key: of the collection;
    now: microseconds. Runs inside the caller's transaction."""
    where = (key, item.document_id)
    version = connection.execute(
        "SELECT version_key, state FROM versions WHERE collection_key = ? AND document_id = ? AND version = ?",
        (*where, item.version),
    ).fetchone()
    document = connection.execute(
        "SELECT active_version FROM documents WHERE collection_key = ? AND document_id = ? AND state <> 'DELETED'",
        where,
    ).fetchone()
    if version is not None and version[1] == "ACTIVE":
        return Activation(item.document_id, item.version, ActivationOutcome.UNCHANGED)
    active = 0 if document is None else document[0]
    if version is None or document is None or version[1] != "PENDING" or item.version < active:
        _supersede(connection, key, item, now)
        return Activation(item.document_id, item.version, ActivationOutcome.SUPERSEDED)
    # Older versions that failed were kept for another try; nobody will try them now.
    connection.execute(
        "UPDATE versions SET state = 'RETIRED', hidden = 1, changed_us = ? WHERE collection_key = ?"
        " AND document_id = ? AND version < ? AND state IN ('ACTIVE', 'FAILED')",
        (now, *where, item.version),
    )
    connection.execute(
        "UPDATE versions SET state = 'ACTIVE', hidden = 0, writing = 0, title = ?, parsed_key = ?, chunk_count = ?,"
        " changed_us = ? WHERE version_key = ?",
        (item.title, item.parsed_key, len(item.chunks), now, version[0]),
    )
    connection.execute(
        "UPDATE documents SET (title, media_type, size_bytes, content_sha256, metadata) ="
        " (SELECT title, media_type, size_bytes, content_sha256, metadata FROM versions WHERE version_key = ?),"
        " state = 'READY', active_version = ?, chunk_count = ?, updated_us = ?,"
        " failure = CASE WHEN latest_version = ? THEN '' ELSE failure END"
        " WHERE collection_key = ? AND document_id = ?",
        (version[0], item.version, len(item.chunks), now, item.version, *where),
    )
    connection.executemany(
        "INSERT INTO chunks (version_key, ordinal, chunk_id, title, heading_path, start_offset, end_offset, page)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            (
                version[0],
                chunk.ordinal,
                chunk.chunk_id,
                None if chunk.title == item.title else chunk.title,
                json.dumps(chunk.heading_path),
                chunk.start,
                chunk.end,
                chunk.page,
            )
            for chunk in item.chunks
        ),
    )
    retired = DocumentVersion(item.document_id, active) if active else None
    return Activation(item.document_id, item.version, ActivationOutcome.ACTIVATED, retired)


def _supersede(connection: sqlite3.Connection, key: int, item: ReadyVersion, now: int) -> None:
    """Hide the version and leave it to the sweeper: its worker has just written rows. A version that was forgotten
    meanwhile is written down again for the same reason."""
    connection.execute(
        "INSERT INTO versions (collection_key, document_id, version, state, hidden, writing, title, media_type,"
        " size_bytes, content_sha256, metadata, blob_key, parsed_key, job_id, batch_id, principal, access_groups,"
        " created_us, changed_us)"
        " VALUES (?, ?, ?, 'RETIRED', 1, 0, '', 'text/plain', 0, '', '{}', '', ?, '', '', '', '[]', ?, ?)"
        " ON CONFLICT (collection_key, document_id, version) DO UPDATE SET state = 'RETIRED', hidden = 1,"
        " writing = 0, parsed_key = excluded.parsed_key, changed_us = excluded.changed_us",
        (key, item.document_id, item.version, item.parsed_key, now, now),
    )
