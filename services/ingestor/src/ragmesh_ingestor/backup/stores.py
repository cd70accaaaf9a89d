"""The stores that the environment names, opened for a backup or a restore."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from ragmesh_backends.blobs import layout as blobs_layout
from ragmesh_backends.blobs.object_store import ObjectBlobs
from ragmesh_backends.records.open import OpenedCopies, open_copies
from ragmesh_backends.store_settings import BlobsSettings, RecordsSettings, VectorsSettings
from ragmesh_backends.vectors.milvus import MilvusVectors
from ragmesh_ingestor.domain.patience import patiently
from ragmesh_servicekit.errors import FailedPrecondition
from ragmesh_servicekit.resilience.guard import Guard
from ragmesh_servicekit.settings import load

PATIENCE_SECONDS = 180.0
"""How long a backup or a restore waits for a store that is down: a restart of one should not cost hours of work."""

LOAD_SECONDS = 120.0
"""For the vector store to load a collection that nobody has used; a server reads all of its index."""
MAX_LOADED = 2
"""Collections that this process keeps loaded; it works on one after another."""

T = TypeVar("T")


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
            max_loaded=MAX_LOADED,
            token=settings.vectors.token,
            load_seconds=LOAD_SECONDS,
            guest=True,
        )
        stack.push_async_callback(vectors.close)
        blobs = await ObjectBlobs.open(settings.blobs, Guard("blobs"))
        if existing:
            await blobs_layout.require_known_layout(blobs)
        else:
            await blobs_layout.open_layout(blobs)
        await vectors.ping()
        yield Stores(record, vectors, blobs)


async def waited(call: Callable[[], Awaitable[T]]) -> T:
    """The result of a call that bears repetition; the store's error when it is down for PATIENCE_SECONDS and longer."""
    return await patiently("backup", call, limit_seconds=PATIENCE_SECONDS)


def _require(settings: BackupSettings) -> None:
    places = []
    if not settings.records.is_neo4j():
        places.append(settings.records.sqlite_path())
    if settings.blobs.url.startswith("file:"):
        places.append(settings.blobs.folder())
    for place in places:
        if not place.exists():
            raise FailedPrecondition(f"there is nothing to back up: {place} does not exist")
