"""Records as entries of a backup, and back. Times are ISO 8601 with microseconds and UTC; vectors are little-endian
32-bit floats."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

import numpy as np

from ragmesh_backends.model.collection import Collection, IndexRef, IndexSpec, Language
from ragmesh_backends.model.copies import DocumentCopy, DocumentMark
from ragmesh_backends.model.document import (
    Chunk,
    ChunkRow,
    Document,
    DocumentState,
    MediaType,
    VersionRecord,
    VersionState,
)
from ragmesh_backends.model.graph import ChunkEntities
from ragmesh_backends.model.key import KeyRecord
from ragmesh_ingestor.backup.archive import Entry

Facts = dict[str, Any]


def collection_facts(collection: Collection) -> Facts:
    """Without its counters, which follow from its documents, and its generation, which is made anew."""
    return {
        "tenant": collection.tenant,
        "collection_id": collection.collection_id,
        "display_name": collection.display_name,
        "index_name": collection.index.name,
        "embedding_model": collection.spec.embedding_model,
        "dimension": collection.spec.dimension,
        "language": str(collection.spec.language),
        "metric": collection.spec.metric,
        "labels": collection.labels,
        "created_at": collection.created_at.isoformat(),
        "updated_at": collection.updated_at.isoformat(),
    }


def collection_of(facts: Facts, index: IndexRef, generation: str) -> Collection:
    """The collection, on another index."""
    return Collection(
        tenant=facts["tenant"],
        collection_id=facts["collection_id"],
        display_name=facts["display_name"],
        index=index,
        spec=IndexSpec(
            facts["embedding_model"], facts["dimension"], Language(facts["language"]), metric=facts["metric"]
        ),
        generation=generation,
        created_at=datetime.fromisoformat(facts["created_at"]),
        updated_at=datetime.fromisoformat(facts["updated_at"]),
        labels=facts["labels"],
    )


def row_entry(row: ChunkRow) -> Entry:
    chunk = asdict(row.chunk)
    return Entry({**chunk, "access": row.access}, row.vector.astype("<f4", copy=False).tobytes())


def row_of(entry: Entry) -> ChunkRow:
    facts = dict(entry.facts)
    access = tuple(facts.pop("access"))
    facts["heading_path"] = tuple(facts["heading_path"])
    return ChunkRow(Chunk(**facts), np.frombuffer(entry.data, dtype="<f4"), access)


def entities_entry(chunk: ChunkEntities) -> Entry:
    return Entry(asdict(chunk) | {"tokens": " ".join(chunk.tokens)})


def entities_of(entry: Entry) -> ChunkEntities:
    facts = dict(entry.facts)
    tokens: str = facts.pop("tokens")
    about = tuple(facts.pop("about"))
    return ChunkEntities(**facts, about=about, tokens=tuple(tokens.split(" ")) if tokens else ())


def blob_entry(document_id: str, key: str, data: bytes) -> Entry:
    return Entry({"document_id": document_id, "key": key}, data)


def document_entry(copy: DocumentCopy) -> Entry:
    """The record of a document; its chunks are those of its rows."""
    facts: Facts = {"document_id": copy.mark.document_id, "mark": asdict(copy.mark)}
    if copy.document is not None:
        document = asdict(copy.document)
        for known in ("tenant", "collection_id", "document_id", *asdict(copy.mark)):
            document.pop(known, None)
        facts["document"] = _plain(document)
        facts["versions"] = [_version_facts(version) for version in copy.versions]
    return Entry(facts)


def document_of(entry: Entry, collection: Collection, chunks: tuple[Chunk, ...]) -> DocumentCopy:
    """The inverse, in `collection`."""
    mark = DocumentMark(**entry.facts["mark"])
    if "document" not in entry.facts:
        return DocumentCopy(mark, None)
    facts = dict(entry.facts["document"])
    document = Document(
        tenant=collection.tenant,
        collection_id=collection.collection_id,
        document_id=mark.document_id,
        title=facts["title"],
        media_type=MediaType(facts["media_type"]),
        size_bytes=facts["size_bytes"],
        content_sha256=facts["content_sha256"],
        state=DocumentState(mark.state),
        active_version=mark.active_version,
        latest_version=mark.latest_version,
        chunk_count=mark.chunk_count,
        metadata=facts["metadata"],
        created_at=datetime.fromisoformat(facts["created_at"]),
        updated_at=datetime.fromisoformat(facts["updated_at"]),
        failure=facts["failure"],
    )
    versions = tuple(_version_of(version, collection, mark.document_id) for version in entry.facts["versions"])
    return DocumentCopy(mark, document, versions, chunks)


def key_entry(key: KeyRecord) -> Entry:
    return Entry(_plain(asdict(key)) | {"scopes": sorted(key.scopes)})


def key_of(entry: Entry) -> KeyRecord:
    facts = entry.facts
    times = {name: facts[name] and datetime.fromisoformat(facts[name]) for name in ("expires_at", "revoked_at")}
    return KeyRecord(
        key_id=facts["key_id"],
        tenant=facts["tenant"],
        principal=facts["principal"],
        name=facts["name"],
        scopes=frozenset(facts["scopes"]),
        groups=tuple(facts["groups"]),
        secret_sha256=facts["secret_sha256"],
        created_at=datetime.fromisoformat(facts["created_at"]),
        **times,
    )


def _version_facts(version: VersionRecord) -> Facts:
    facts = asdict(version)
    for known in ("tenant", "collection_id", "index", "document_id"):
        del facts[known]
    return _plain(facts)


def _version_of(facts: Facts, collection: Collection, document_id: str) -> VersionRecord:
    typed = {
        **facts,
        "state": VersionState(facts["state"]),
        "media_type": MediaType(facts["media_type"]),
        "groups": tuple(facts["groups"]),
        "created_at": datetime.fromisoformat(facts["created_at"]),
        "changed_at": datetime.fromisoformat(facts["changed_at"]),
    }
    return VersionRecord(
        tenant=collection.tenant,
        collection_id=collection.collection_id,
        index=collection.index,
        document_id=document_id,
        **typed,
    )


def _plain(facts: Facts) -> Facts:
    """Values that JSON knows."""
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in facts.items()
        if not isinstance(value, frozenset)
    }
