"""A record store of either adapter, what tests put into it, and the ids of this run on a server that others share."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ragmesh_backends.model.collection import Collection, IndexRef, IndexSpec, Language
from ragmesh_backends.model.document import (
    ActivationOutcome,
    Chunk,
    MediaType,
    NewVersion,
    ReadyVersion,
)
from ragmesh_backends.records.neo4j import Neo4jRecords
from ragmesh_backends.records.neo4j.schema import NEO4J_RECORDS_SCHEMA
from ragmesh_backends.records.sqlite import RECORDS_SCHEMA, SqliteRecords
from ragmesh_backends.sqlite.database import Database
from support import neo4j

Records = SqliteRecords | Neo4jRecords

START = datetime(1990, 1, 1, tzinfo=UTC)
"""Long before anything else that a shared server may hold: listings over all tenants begin with what is here."""

RUN = secrets.token_hex(4)
ACME, OTHER = f"acme-{RUN}", f"other-{RUN}"
HOSTILE = "'; DROP TABLE documents; --/../\u202e%00"
INDEX = IndexRef(ACME, f"ix1-{RUN}")
COLLECTION = Collection(
    tenant=ACME,
    collection_id="docs",
    display_name="Docs",
    index=INDEX,
    spec=IndexSpec("mini", 384, Language.GERMAN),
    generation="0" * 16,
    created_at=START,
    updated_at=START,
    labels={"team": "a"},
)


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@asynccontextmanager
async def opened(adapter: str, path: Path, clock: Callable[[], datetime]) -> AsyncIterator[Records]:
    """The adapter on its database. path: of the SQLite file."""
    if adapter == "sqlite":
        async with await Database.open(path, [RECORDS_SCHEMA]) as database:
            yield SqliteRecords(database, clock)
    else:
        async with neo4j.opened(NEO4J_RECORDS_SCHEMA) as client:
            yield Neo4jRecords(client, clock)


@asynccontextmanager
async def emptied(adapter: str) -> AsyncIterator[None]:
    """Nothing is left of this run's tenants on a shared server."""
    if adapter == "sqlite":
        yield
        return
    try:
        yield
    finally:
        await neo4j.forget_tenants(ACME, OTHER)


def new(document_id: str = "d", job: str = "j1") -> NewVersion:
    return NewVersion(
        document_id=document_id,
        title=f"title {job}",
        media_type=MediaType.MARKDOWN,
        size_bytes=len(job),
        content_sha256=job * 4,
        blob_key=f"blob/{job}",
        job_id=job,
        principal="ann",
        groups=("staff",),
        batch_id="b1",
        metadata={"by": job},
    )


def ready(document_id: str, version: int, chunks: int = 3) -> ReadyVersion:
    return ReadyVersion(
        document_id=document_id,
        version=version,
        title=f"parsed {version}",
        chunks=tuple(
            Chunk(
                chunk_id=f"{document_id}:{version}:{n}",
                document_id=document_id,
                version=version,
                ordinal=n,
                text="",
                title=f"parsed {version}" if n else "Preface",
                heading_path=("A", f"B{n}"),
                start=10 * n,
                end=10 * n + 9,
                page=n or None,
            )
            for n in range(chunks)
        ),
        parsed_key=f"parsed/{version}",
    )


async def begin(records: Records, document_id: str = "d", job: str = "j1") -> int:
    [version] = await records.begin_versions(INDEX, [new(document_id, job)])
    return version.version


async def activate(records: Records, document_id: str = "d", version: int = 1) -> ActivationOutcome:
    [result] = await records.activate_versions(INDEX, [ready(document_id, version)])
    return result.outcome


async def counters(records: Records) -> tuple[int, int, int]:
    found = await records.get_collection(ACME, "docs")
    return found.documents_ready, found.documents_pending, found.documents_failed


def ours(indexes: Iterable[IndexRef]) -> list[IndexRef]:
    """Without those of others on a shared server."""
    return [index for index in indexes if index.tenant == ACME]


async def hidden(records: Records) -> set[tuple[str, int]]:
    return {(v.document_id, v.version) for v in await records.hidden_versions(INDEX)}
