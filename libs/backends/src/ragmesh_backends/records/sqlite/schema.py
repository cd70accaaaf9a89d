"""The tables of the record store.

A collection that is deleted keeps its row (deleted_us) until its index is swept, and a document that is deleted
keeps its row in state DELETED, so that its version numbers never start again: a late worker of the old
version 1 cannot be mistaken for the new one. Counters are kept by triggers, so no statement can forget them.
Times are integers: microseconds since 1970 UTC.
"""

from __future__ import annotations

from ragmesh_backends.sqlite.schema import Schema

_COLLECTIONS = """
CREATE TABLE collections (
    collection_key INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant TEXT NOT NULL,
    collection_id TEXT NOT NULL,
    display_name TEXT NOT NULL,
    index_name TEXT NOT NULL,
    embedding_model TEXT NOT NULL,
    dimension INTEGER NOT NULL,
    language TEXT NOT NULL,
    metric TEXT NOT NULL,
    generation TEXT NOT NULL,
    labels TEXT NOT NULL,
    documents_ready INTEGER NOT NULL DEFAULT 0,
    documents_pending INTEGER NOT NULL DEFAULT 0,
    documents_failed INTEGER NOT NULL DEFAULT 0,
    created_us INTEGER NOT NULL,
    updated_us INTEGER NOT NULL,
    deleted_us INTEGER,
    UNIQUE (tenant, index_name)
)
"""

_DOCUMENTS = """
CREATE TABLE documents (
    document_key INTEGER PRIMARY KEY AUTOINCREMENT,
    collection_key INTEGER NOT NULL REFERENCES collections (collection_key),
    document_id TEXT NOT NULL,
    title TEXT NOT NULL,
    media_type TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    content_sha256 TEXT NOT NULL,
    metadata TEXT NOT NULL,
    state TEXT NOT NULL,
    active_version INTEGER NOT NULL DEFAULT 0,
    latest_version INTEGER NOT NULL,
    chunk_count INTEGER NOT NULL DEFAULT 0,
    failure TEXT NOT NULL DEFAULT '',
    created_us INTEGER NOT NULL,
    updated_us INTEGER NOT NULL,
    UNIQUE (collection_key, document_id)
)
"""

# hidden: its rows may be in the stores and must not be found. writing: a worker may still add rows.
_VERSIONS = """
CREATE TABLE versions (
    version_key INTEGER PRIMARY KEY AUTOINCREMENT,
    collection_key INTEGER NOT NULL REFERENCES collections (collection_key),
    document_id TEXT NOT NULL,
    version INTEGER NOT NULL,
    state TEXT NOT NULL,
    hidden INTEGER NOT NULL,
    writing INTEGER NOT NULL,
    title TEXT NOT NULL,
    media_type TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    content_sha256 TEXT NOT NULL,
    metadata TEXT NOT NULL,
    blob_key TEXT NOT NULL,
    parsed_key TEXT NOT NULL DEFAULT '',
    job_id TEXT NOT NULL,
    batch_id TEXT NOT NULL,
    principal TEXT NOT NULL,
    access_groups TEXT NOT NULL,
    chunk_count INTEGER NOT NULL DEFAULT 0,
    failure TEXT NOT NULL DEFAULT '',
    created_us INTEGER NOT NULL,
    changed_us INTEGER NOT NULL,
    UNIQUE (collection_key, document_id, version)
)
"""

# title is NULL where it is the version's own.
_CHUNKS = """
CREATE TABLE chunks (
    version_key INTEGER NOT NULL REFERENCES versions (version_key) ON DELETE CASCADE,
    ordinal INTEGER NOT NULL,
    chunk_id TEXT NOT NULL,
    title TEXT,
    heading_path TEXT NOT NULL,
    start_offset INTEGER NOT NULL,
    end_offset INTEGER NOT NULL,
    page INTEGER,
    PRIMARY KEY (version_key, ordinal)
) WITHOUT ROWID
"""


def _count(row: str, sign: str) -> str:
    return (
        f"UPDATE collections SET"  # noqa: S608 - constant names
        f" documents_ready = documents_ready {sign} ({row}.state = 'READY'),"
        f" documents_pending = documents_pending {sign} ({row}.state = 'PENDING'),"
        f" documents_failed = documents_failed {sign} ({row}.state = 'FAILED')"
        f" WHERE collection_key = {row}.collection_key;"
    )


RECORDS_SCHEMA = Schema(
    "records",
    (
        (
            _COLLECTIONS,
            "CREATE UNIQUE INDEX collections_live ON collections (tenant, collection_id) WHERE deleted_us IS NULL",
            "CREATE INDEX collections_dropped ON collections (deleted_us) WHERE deleted_us IS NOT NULL",
            _DOCUMENTS,
            "CREATE INDEX documents_live ON documents (collection_key, document_id) WHERE state <> 'DELETED'",
            _VERSIONS,
            "CREATE INDEX versions_hidden ON versions (collection_key, document_id, version) WHERE hidden = 1",
            "CREATE INDEX versions_changed ON versions (state, changed_us) WHERE hidden = 1",
            _CHUNKS,
            f"CREATE TRIGGER documents_inserted AFTER INSERT ON documents BEGIN {_count('NEW', '+')} END",
            "CREATE TRIGGER documents_changed AFTER UPDATE OF state ON documents WHEN OLD.state <> NEW.state"
            f" BEGIN {_count('OLD', '-')} {_count('NEW', '+')} END",
            f"CREATE TRIGGER documents_deleted AFTER DELETE ON documents BEGIN {_count('OLD', '-')} END",
        ),
    ),
)
