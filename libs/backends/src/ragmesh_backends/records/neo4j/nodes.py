"""What a node holds, and the way between nodes and records.

No node has a relationship: whatever is asked here is asked by key, and a collection that every document pointed to
would be a node of millions of relationships, locked by each writer. A node is named by its whole key instead, the
tenant first, in a composite index. Times are integers: microseconds since 1970 UTC. Maps are JSON, which Neo4j's
properties cannot hold otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ragmesh_backends.model.collection import Collection, DroppedIndex, IndexRef, IndexSpec, Language
from ragmesh_backends.model.document import (
    Chunk,
    Document,
    DocumentState,
    DocumentVersion,
    MediaType,
    NewVersion,
    RetiredVersion,
    VersionRecord,
    VersionState,
)
from ragmesh_backends.records.clock import from_microseconds, to_microseconds
from ragmesh_backends.records.neo4j.ordering import ordered

Properties = dict[str, Any]
DELETED = "DELETED"
"""The state of a document that is gone: its node stays, so that its version numbers never start again."""


def of_collection(collection: Collection) -> Properties:
    """live_key exists while the collection does; without it nobody finds the node but the sweeper."""
    return {
        "tenant": collection.tenant,
        "live_key": ordered(collection.collection_id),
        "collection_id": collection.collection_id,
        "display_name": collection.display_name,
        "index_name": collection.index.name,
        "embedding_model": collection.spec.embedding_model,
        "dimension": collection.spec.dimension,
        "language": str(collection.spec.language),
        "metric": collection.spec.metric,
        "generation": collection.generation,
        "labels": json.dumps(collection.labels),
        "documents_ready": 0,
        "documents_pending": 0,
        "documents_failed": 0,
        "versions_begun": 0,
        "created_us": to_microseconds(collection.created_at),
        "updated_us": to_microseconds(collection.updated_at),
    }


def collection(node: Mapping[str, Any]) -> Collection:
    return Collection(
        tenant=node["tenant"],
        collection_id=node["collection_id"],
        display_name=node["display_name"],
        index=IndexRef(node["tenant"], node["index_name"]),
        spec=IndexSpec(node["embedding_model"], node["dimension"], Language(node["language"]), node["metric"]),
        generation=node["generation"],
        labels=json.loads(node["labels"]),
        documents_ready=node["documents_ready"],
        documents_pending=node["documents_pending"],
        documents_failed=node["documents_failed"],
        created_at=from_microseconds(node["created_us"]),
        updated_at=from_microseconds(node["updated_us"]),
    )


def dropped_index(node: Mapping[str, Any]) -> DroppedIndex:
    return DroppedIndex(
        IndexRef(node["tenant"], node["index_name"]), node["collection_id"], from_microseconds(node["deleted_us"])
    )


def shown(item: NewVersion | Document | VersionRecord) -> Properties:
    """What a document shows of its version."""
    return {
        "title": item.title,
        "media_type": str(item.media_type),
        "size_bytes": item.size_bytes,
        "content_sha256": item.content_sha256,
        "metadata": json.dumps(item.metadata),
    }


def document(tenant: str, collection_id: str, node: Mapping[str, Any]) -> Document:
    return Document(
        tenant=tenant,
        collection_id=collection_id,
        document_id=node["document_id"],
        title=node["title"],
        media_type=MediaType(node["media_type"]),
        size_bytes=node["size_bytes"],
        content_sha256=node["content_sha256"],
        metadata=json.loads(node["metadata"]),
        state=DocumentState(node["state"]),
        active_version=node["active_version"],
        latest_version=node["latest_version"],
        chunk_count=node["chunk_count"],
        failure=node["failure"],
        created_at=from_microseconds(node["created_us"]),
        updated_at=from_microseconds(node["updated_us"]),
    )


def version_record(collection_id: str, node: Mapping[str, Any]) -> VersionRecord:
    return VersionRecord(
        tenant=node["tenant"],
        collection_id=collection_id,
        index=IndexRef(node["tenant"], node["index_name"]),
        document_id=node["document_id"],
        version=node["version"],
        state=VersionState(node["state"]),
        title=node["title"],
        media_type=MediaType(node["media_type"]),
        size_bytes=node["size_bytes"],
        content_sha256=node["content_sha256"],
        metadata=json.loads(node["metadata"]),
        blob_key=node["blob_key"],
        parsed_key=node["parsed_key"],
        job_id=node["job_id"],
        batch_id=node["batch_id"],
        principal=node["principal"],
        groups=tuple(node["access_groups"]),
        chunk_count=node["chunk_count"],
        failure=node["failure"],
        created_at=from_microseconds(node["created_us"]),
        changed_at=from_microseconds(node["changed_us"]),
    )


def retired_version(node: Mapping[str, Any]) -> RetiredVersion:
    blobs = () if node["state"] == VersionState.FAILED else (node["blob_key"], node["parsed_key"])
    return RetiredVersion(
        index=IndexRef(node["tenant"], node["index_name"]),
        version=DocumentVersion(node["document_id"], node["version"]),
        job_id=node["job_id"],
        blob_keys=tuple(key for key in blobs if key),
        retired_at=from_microseconds(node["changed_us"]),
    )


def of_chunk(chunk: Chunk, version_title: str) -> Properties:
    """title is left out where it is the version's own."""
    return {
        "ordinal": chunk.ordinal,
        "chunk_id": chunk.chunk_id,
        "title": None if chunk.title == version_title else chunk.title,
        "heading_path": list(chunk.heading_path),
        "start_offset": chunk.start,
        "end_offset": chunk.end,
        "page": chunk.page,
    }


def chunk(node: Mapping[str, Any], version_title: str) -> Chunk:
    return Chunk(
        chunk_id=node["chunk_id"],
        document_id=node["document_id"],
        version=node["version"],
        ordinal=node["ordinal"],
        text="",
        title=node.get("title", version_title),
        heading_path=tuple(node["heading_path"]),
        start=node["start_offset"],
        end=node["end_offset"],
        page=node.get("page"),
    )
