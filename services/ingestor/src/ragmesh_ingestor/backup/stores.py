"""The stores that the environment names, opened for a backup or a restore."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from ragmesh_backends.blobs import layout as blobs_layout
from ragmesh_backends.blobs.object_store import ObjectBlobs
from ragmesh_backends.records.open import OpenedCopies, open_copies
from ragmesh_backends.store_settings import BlobsSettings, RecordsSettings, VectorsSettings
from ragmesh_backends.vectors.milvus import MilvusVectors
from ragmesh_servicekit.errors import FailedPrecondition
from ragmesh_servicekit.resilience.guard import Guard
from ragmesh_servicekit.settings import load


@dataclass(frozen=True, slots=True)
class BackupSettings:
    """As the ingestor's; Redis and the embedding model are not needed."""

    records: RecordsSettings
    vectors: VectorsSettings
    blobs: BlobsSettings


@dataclass(frozen=True, slots=True)
class Stores:
    """All that a mesh cannot make again by itself."""

    record: OpenedCopies
    vectors: MilvusVectors
    blobs: ObjectBlobs


@contextlib.asynccontextmanager
async def opened(environ: Mapping[str, str], *, existing: bool) -> AsyncIterator[Stores]:
    """Open them; existing: a file or folder that is not there is an error and not made.

    Raises SettingsError naming every variable that is wrong, FailedPrecondition for stores that a newer program wrote,
    Unavailable for one that does not answer."""
    settings = load(BackupSettings, environ)
    if existing:
        await asyncio.to_thread(_require, settings)
    async with contextlib.AsyncExitStack() as stack:
        record = await stack.enter_async_context(await open_copies(settings.records))
        vectors = MilvusVectors(
            settings.vectors.url,
            timeout_seconds=settings.vectors.timeout_seconds,
            max_loaded=settings.vectors.max_loaded,
            token=settings.vectors.token,
        )
        stack.push_async_callback(vectors.close)
        blobs = await ObjectBlobs.open(settings.blobs, Guard("blobs"))
        if existing:
            await blobs_layout.require_known_layout(blobs)
        else:
            await blobs_layout.open_layout(blobs)
        await vectors.ping()
        yield Stores(record, vectors, blobs)


def _require(settings: BackupSettings) -> None:
    places = []
    if not settings.records.is_neo4j():
        places.append(settings.records.sqlite_path())
    if settings.blobs.url.startswith("file:"):
        places.append(settings.blobs.folder())
    for place in places:
        if not place.exists():
            raise FailedPrecondition(f"there is nothing to back up: {place} does not exist")
