"""The stores of a mesh without its services, filled through the adapters: what backups are made of and restored to."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from ragmesh_backends.model.collection import Collection, IndexRef, IndexSpec
from ragmesh_backends.model.document import (
    Chunk,
    ChunkRow,
    DocumentVersion,
    MediaType,
    NewVersion,
    ReadyVersion,
)
from ragmesh_backends.model.graph import ChunkEntities
from ragmesh_backends.model.key import KeyRecord
from ragmesh_backends.model.search import SearchFilter
from ragmesh_backends.model.tokens import words
from ragmesh_ingestor.backup.stores import Stores, opened

START = datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
DIMENSION = 4
EVERYONE = SearchFilter(groups=())
STAFF = SearchFilter(groups=("staff",))


@dataclass
class StoredMesh:
    """stores: open. environ: the variables that name them."""

    stores: Stores
    environ: Mapping[str, str]
    tenant: str
    indexes: dict[str, IndexRef] = field(default_factory=dict)

    async def create(self, collection_id: str, tenant: str = "") -> Collection:
        tenant = tenant or self.tenant
        index = IndexRef(tenant, f"c_{secrets.token_hex(8)}")
        spec = IndexSpec("mini", DIMENSION)
        collection = Collection(
            tenant,
            collection_id,
            "Docs",
            index,
            spec,
            "0" * 16,
            START,
            START,
            labels={"a": "b"},
        )
        await self.stores.vectors.create_index(index, collection.spec)
        await self.stores.record.records.create_collection(collection)
        self.indexes[collection_id] = index
        return collection

    async def put(
        self, collection_id: str, document_id: str, text: str, *, state: str = "READY", access: Sequence[str] = ()
    ) -> int:
        """A document of one chunk for each line, READY, PENDING or FAILED; its version."""
        index = self.indexes[collection_id]
        job = sha256(f"{document_id} {text}".encode()).hexdigest()[:32]
        key = f"{index.name}/{job}.original"
        records = self.stores.record.records
        await self.stores.blobs.put(key, text.encode())
        new = NewVersion(
            document_id, "", MediaType.TEXT, len(text), "ab" * 32, key, job, "ann", ("staff",), metadata={"by": "ann"}
        )
        [version] = await records.begin_versions(index, [new])
        if state == "FAILED":
            await records.fail_version(index, document_id, version.version, "it is no text")
        if state == "READY":
            await self._activate(index, collection_id, version, text, key, access)
        return version.version

    async def _activate(
        self,
        index: IndexRef,
        collection_id: str,
        version: DocumentVersion,
        text: str,
        blob_key: str,
        access: Sequence[str],
    ) -> None:
        chunks, entities, at = [], [], 0
        for ordinal, line in enumerate(text.split("\n")):
            name = sha256(f"{version}{ordinal}".encode()).hexdigest()[:32]
            place = (version.document_id, version.version, ordinal)
            chunks.append(
                Chunk(name, *place, line, version.document_id, ("Top",), at, at + len(line), page=ordinal + 1)
            )
            entities.append(ChunkEntities(name, *place, (version.document_id.lower(),), words(line)))
            at += len(line) + 1
        rows = [ChunkRow(chunk, unit(chunk.text), tuple(access)) for chunk in chunks]
        parsed = blob_key.replace(".original", ".parsed")
        await self.stores.blobs.put(parsed, text.encode())
        await self.stores.vectors.insert(index, rows)
        await self.stores.record.graph.write(index, entities)
        done = ReadyVersion(version.document_id, version.version, "The title", tuple(chunks), parsed)
        await self.stores.record.records.activate_versions(index, [done])

    async def delete(self, collection_id: str, document_id: str) -> None:
        await self.stores.record.records.delete_document(self.indexes[collection_id].tenant, collection_id, document_id)

    async def seen(self, tenant: str = "") -> dict[str, Any]:
        """What a tenant's readers could find out of all its collections; nothing that names an index or a job."""
        tenant = tenant or self.tenant
        records, seen = self.stores.record.records, dict[str, Any]()
        for collection in await self.stores.record.copies.collections(tenant):
            facts: dict[str, Any] = {"counts": (collection.documents_ready, collection.documents_pending)}
            facts["spec"], facts["labels"] = collection.spec, collection.labels
            for mark in await self.stores.record.copies.marks(collection.index):
                facts[f"mark {mark.document_id}"] = mark
            for document in await records.list_documents(tenant, collection.collection_id, "", 1000):
                facts[document.document_id] = document
                place = (tenant, collection.collection_id, document.document_id)
                facts[f"chunks {document.document_id}"] = await records.list_chunks(*place, -1, 1000)
                if document.active_version:
                    version = await records.get_version(*place, document.active_version)
                    keys = [version.blob_key, version.parsed_key]
                    facts[f"blobs {document.document_id}"] = await self.stores.blobs.get_many(keys)
            for where in (EVERYONE, STAFF):
                vectors = self.stores.vectors
                hidden = await records.hidden_versions(collection.index)
                for query in ("harbour light", "tea"):
                    for hits in (
                        await vectors.dense(collection.index, unit(query), 100, where=where, with_vectors=True),
                        await vectors.bm25(collection.index, query, 100, where=where),
                    ):
                        facts[f"{query} {len(facts)}"] = [
                            (hit.chunk, hit.score)
                            for hit in hits
                            if DocumentVersion(hit.chunk.document_id, hit.chunk.version) not in hidden
                        ]
            ids = [chunk.chunk_id for name, chunks in facts.items() if name.startswith("chunks") for chunk in chunks]
            facts["links"] = await self.stores.record.graph.links(collection.index, ids)
            seen[collection.collection_id] = facts
        seen["keys"] = list(await self.stores.record.keys.copies(tenant, "", 1000))
        return seen


def unit(text: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    """A vector of unit norm that tells texts apart."""
    vector = np.array([1 + text.count(letter) for letter in "aeio"[:DIMENSION]], dtype=np.float32)
    return vector / np.linalg.norm(vector).astype(np.float32)


def key(tenant: str, key_id: str) -> KeyRecord:
    return KeyRecord(key_id, tenant, f"key:{key_id}", "laptop", frozenset({"search"}), ("staff",), "ab" * 32, START)


@asynccontextmanager
async def stored_mesh(folder: Path, milvus: str, tenant: str, records: Mapping[str, str]) -> AsyncIterator[StoredMesh]:
    """Empty stores. folder: for blobs, and for records unless `records` names another store."""
    environ = {
        "RAGMESH_RECORDS_URL": f"sqlite:{folder / 'records.db'}",
        "RAGMESH_BLOBS_URL": f"file:{folder / 'blobs'}",
        "RAGMESH_VECTORS_URL": milvus,
        **records,
    }
    async with opened(environ, existing=False) as stores:
        yield StoredMesh(stores, environ, tenant)
