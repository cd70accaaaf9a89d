"""The ingestor on real records, graph and blobs, with small stand-ins for the stores that need a server of their own:
a queue, a vector store, the readers' view of what is hidden, and an embedder. Each can be told to fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ragmesh_backends.blobs.object_store import ObjectBlobs
from ragmesh_backends.graphs.sqlite import GRAPH_SCHEMA, SqliteGraph
from ragmesh_backends.model.collection import IndexRef, IndexSpec
from ragmesh_backends.model.document import ChunkRow, DocumentVersion
from ragmesh_backends.model.job import Delivery, Job, JobStage, JobState, JobSubmission, KnownRequest, Outcome
from ragmesh_backends.records.sqlite import RECORDS_SCHEMA, SqliteRecords
from ragmesh_backends.sqlite.database import Database
from ragmesh_ingestor.domain.chunking import ChunkLimits
from ragmesh_ingestor.domain.collections import Collections
from ragmesh_ingestor.domain.documents import Documents
from ragmesh_ingestor.domain.passage import ParsedPassages, ParseFailure, ParseRequest
from ragmesh_ingestor.domain.passages import passages_of
from ragmesh_ingestor.domain.ports import Embedder, StageClock
from ragmesh_ingestor.domain.submit import Submit
from ragmesh_ingestor.domain.sweeper import Sweeper, SweeperSettings
from ragmesh_ingestor.domain.worker import Worker, WorkerSettings
from ragmesh_servicekit.errors import Aborted, MeshError, NotFound, Reason
from support.small_stores import Faults, embed

CRASH = b"crash the parser"
"""A document that holds this makes the small parser report a crash."""


def _accepted(s: JobSubmission, now: datetime) -> Job:
    return Job(
        job_id=s.job_id,
        tenant=s.tenant,
        principal=s.principal,
        groups=s.groups,
        collection_id=s.collection_id,
        document_id=s.document_id,
        version=s.version,
        batch_id=s.batch_id,
        state=JobState.ACCEPTED,
        stage=JobStage.NONE,
        done=0,
        total=0,
        attempt=0,
        failure_reason="",
        failure_message="",
        created_at=now,
        updated_at=now,
        traceparent=s.traceparent,
    )


@dataclass
class SmallQueue:
    faults: Faults = field(default_factory=Faults)
    jobs: dict[str, Job] = field(default_factory=dict)
    requests: dict[tuple[str, str], KnownRequest] = field(default_factory=dict)
    waiting: list[str] = field(default_factory=list)
    taken: dict[str, str] = field(default_factory=dict)
    stop: set[str] = field(default_factory=set)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def _change(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    async def until(self, condition: Callable[[], bool], seconds: float = 10.0) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                await self.changed.wait()

    async def ended(self, jobs: Iterable[Job]) -> list[Job]:
        """These jobs, once all of them have ended."""
        wanted = [job.job_id for job in jobs]
        await self.until(lambda: all(self.jobs[job_id].state.final for job_id in wanted))
        return [self.jobs[job_id] for job_id in wanted]

    async def submit(self, submissions: Sequence[JobSubmission]) -> list[Job]:
        await self.faults.at("submit")
        now = datetime.now(UTC)
        first = submissions[0]
        known = self.requests.get((first.tenant, first.request_id))
        if first.request_id and known is not None:
            if known.payload_digest != first.payload_digest:
                raise Aborted("another payload")
            return list(known.jobs)
        for s in submissions:
            self.jobs.setdefault(s.job_id, _accepted(s, now))
            self.waiting.append(s.job_id)
        made = [self.jobs[s.job_id] for s in submissions]
        if first.request_id:
            self.requests[(first.tenant, first.request_id)] = KnownRequest(first.payload_digest, tuple(made))
        self._change()
        return made

    async def find_request(self, tenant: str, request_id: str) -> KnownRequest | None:
        return self.requests.get((tenant, request_id))

    async def get(self, tenant: str, job_id: str) -> Job:
        if job_id not in self.jobs:
            raise NotFound("no such job", reason=Reason.JOB_NOT_FOUND)
        return self.jobs[job_id]

    async def take(self, consumer: str, limit: int, block_seconds: float) -> list[Delivery]:
        await self.faults.at("take")
        if not self.waiting:
            try:
                async with asyncio.timeout(block_seconds):
                    await self.changed.wait()
            except TimeoutError:
                return []
        ids, self.waiting = self.waiting[:limit], self.waiting[limit:]
        self.taken.update(dict.fromkeys(ids, consumer))
        return [Delivery(job_id, self.jobs[job_id]) for job_id in ids]

    async def reclaim(self, consumer: str, min_idle_seconds: float, limit: int) -> list[Delivery]:
        ids = [job_id for job_id, owner in self.taken.items() if owner != consumer][:limit]
        self.taken.update(dict.fromkeys(ids, consumer))
        return [Delivery(job_id, self.jobs[job_id]) for job_id in ids]

    async def start(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        await self.faults.at("start")
        started = []
        for d in deliveries:
            job = self.jobs[d.job.job_id]
            if not job.state.final:
                job = replace(job, state=JobState.RUNNING, stage=JobStage.PARSING, attempt=job.attempt + 1)
                self.jobs[job.job_id] = job
                started.append(Delivery(d.entry_id, job))
        self._change()
        return started

    async def heartbeat(self, consumer: str, deliveries: Sequence[Delivery]) -> frozenset[str]:
        return frozenset(d.job.job_id for d in deliveries if d.job.job_id in self.stop)

    async def progress(self, deliveries: Sequence[Delivery], stage: JobStage, totals: Sequence[int]) -> None:
        await self.faults.at("progress")
        for d, total in zip(deliveries, totals, strict=True):
            self.jobs[d.job.job_id] = replace(self.jobs[d.job.job_id], stage=stage, total=total)
        self._change()

    async def finish(self, outcomes: Sequence[Outcome]) -> None:
        await self.faults.at("finish")
        for o in outcomes:
            job = self.jobs[o.delivery.job.job_id]
            self.taken.pop(job.job_id, None)
            self.jobs[job.job_id] = replace(
                job, state=o.state, failure_reason=o.failure_reason, failure_message=o.failure_message
            )
        self._change()

    async def release(self, consumer: str, deliveries: Sequence[Delivery]) -> None:
        for d in deliveries:
            self.taken.pop(d.job.job_id, None)
            self.waiting.append(d.job.job_id)
        self._change()


@dataclass
class SmallVectors:
    """refuses: a text that no row may hold."""

    faults: Faults = field(default_factory=Faults)
    rows: dict[IndexRef, dict[str, ChunkRow]] = field(default_factory=dict)
    refuses: str = "\x00"
    inserted_at: dict[DocumentVersion, float] = field(default_factory=dict)

    async def create_index(self, index: IndexRef, spec: IndexSpec) -> None:
        await self.faults.at("create_index")
        self.rows[index] = {}

    async def drop_index(self, index: IndexRef) -> None:
        self.rows.pop(index, None)

    async def insert(self, index: IndexRef, rows: Sequence[ChunkRow]) -> None:
        await self.faults.at("insert")
        if index not in self.rows:
            raise NotFound("no such index")
        if any(self.refuses in row.chunk.text for row in rows):
            raise MeshError("refused")
        self.rows[index].update({row.chunk.chunk_id: row for row in rows})
        now = asyncio.get_running_loop().time()
        for row in rows:
            self.inserted_at.setdefault(DocumentVersion(row.chunk.document_id, row.chunk.version), now)

    async def count_versions(self, index: IndexRef, versions: Sequence[DocumentVersion]) -> dict[DocumentVersion, int]:
        found = [DocumentVersion(r.chunk.document_id, r.chunk.version) for r in self.rows[index].values()]
        return {version: found.count(version) for version in versions}

    async def delete_versions(self, index: IndexRef, versions: Sequence[DocumentVersion]) -> None:
        gone = set(versions)
        self.rows[index] = {
            chunk_id: row
            for chunk_id, row in self.rows[index].items()
            if DocumentVersion(row.chunk.document_id, row.chunk.version) not in gone
        }


@dataclass
class SmallVisibility:
    """What readers drop, and when each version was hidden, by the loop's clock."""

    faults: Faults = field(default_factory=Faults)
    sets: dict[IndexRef, set[DocumentVersion]] = field(default_factory=dict)
    hidden_at: dict[DocumentVersion, float] = field(default_factory=dict)

    async def hide(self, index: IndexRef, versions: Sequence[DocumentVersion]) -> None:
        await self.faults.at("hide")
        self.sets.setdefault(index, set()).update(versions)
        now = asyncio.get_running_loop().time()
        self.hidden_at.update(dict.fromkeys(versions, now))

    async def flip(self, index: IndexRef, show: Sequence[DocumentVersion], hide: Sequence[DocumentVersion]) -> None:
        await self.faults.at("flip")
        self.sets[index] = (self.sets.get(index, set()) - set(show)) | set(hide)

    async def forget(self, index: IndexRef, versions: Sequence[DocumentVersion]) -> None:
        self.sets.get(index, set()).difference_update(versions)

    async def hidden(self, index: IndexRef) -> frozenset[DocumentVersion] | None:
        return frozenset(self.sets[index]) if index in self.sets else None

    async def rebuild(self, index: IndexRef, versions: Iterable[DocumentVersion]) -> None:
        self.sets[index] = set(versions)

    async def drop(self, index: IndexRef) -> None:
        self.sets.pop(index, None)


@dataclass
class SmallEmbedder:
    faults: Faults = field(default_factory=Faults)
    model_id: str = "small"
    dimension: int = 1024

    async def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        await self.faults.at("embed")
        return np.stack([embed(text) for text in texts])


class MeasuredEmbedder(Embedder, Protocol):
    """An embedder whose collections can be made."""

    @property
    def dimension(self) -> int: ...


class SmallParser:
    """The pure pipeline in this process, with words for word pieces."""

    async def parse(self, requests: Sequence[ParseRequest]) -> list[ParsedPassages | ParseFailure]:
        return [self._parse(request) for request in requests]

    def _parse(self, request: ParseRequest) -> ParsedPassages | ParseFailure:
        if CRASH in request.data:
            return ParseFailure("CONTENT_INVALID", "content: the parser failed on it", repeatable=True)
        try:
            return passages_of(request, ChunkLimits(64), _words)
        except MeshError as error:
            return ParseFailure(error.reason, error.message)


def _words(text: str) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    start: int | None = None
    for at, character in enumerate(text + " "):
        if character.isspace():
            if start is not None:
                spans.append((start, at))
            start = None
        elif start is None:
            start = at
    return spans


@dataclass
class SmallMesh:
    records: SqliteRecords
    graph: SqliteGraph
    blobs: ObjectBlobs
    queue: SmallQueue = field(default_factory=SmallQueue)
    vectors: SmallVectors = field(default_factory=SmallVectors)
    visibility: SmallVisibility = field(default_factory=SmallVisibility)
    embedder: MeasuredEmbedder = field(default_factory=SmallEmbedder)
    clock: StageClock = nullcontext
    worker_settings: WorkerSettings = field(
        default_factory=lambda: WorkerSettings(visibility_lag_seconds=0.0, block_seconds=0.05, heartbeat_seconds=0.02)
    )

    def __post_init__(self) -> None:
        self.submit = Submit(
            self.records, self.visibility, self.blobs, self.queue, embedding_model=self.embedder.model_id
        )
        self.documents = Documents(self.records, self.visibility, self.blobs)
        self.collections = Collections(
            self.records,
            self.vectors,
            self.visibility,
            embedding_model=self.embedder.model_id,
            dimension=self.embedder.dimension,
        )
        self.sweeper = Sweeper(
            self.records, self.vectors, self.graph, self.visibility, self.blobs, self.queue,
            SweeperSettings(grace_seconds=0.0, pending_seconds=0.0),
        )  # fmt: skip

    def worker(self, consumer: str = "one") -> Worker:
        return Worker(
            consumer, self.queue, self.records, self.vectors, self.graph, self.visibility, self.blobs,
            SmallParser(), self.embedder, self.worker_settings, clock=self.clock,
        )  # fmt: skip

    @asynccontextmanager
    async def working(self, consumer: str = "one") -> AsyncIterator[Worker]:
        worker = self.worker(consumer)
        task = asyncio.create_task(worker.run(), name="test.worker")
        try:
            yield worker
        finally:
            if not await worker.drain(5.0):
                task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def seen(self, index: IndexRef) -> dict[DocumentVersion, int]:
        """What a reader sees: versions with their rows."""
        hidden = self.visibility.sets.get(index, set())
        counts: dict[DocumentVersion, int] = {}
        for row in self.vectors.rows.get(index, {}).values():
            version = DocumentVersion(row.chunk.document_id, row.chunk.version)
            if version not in hidden:
                counts[version] = counts.get(version, 0) + 1
        return counts


@asynccontextmanager
async def small_mesh(
    folder: Path, *, blobs: ObjectBlobs | None = None, embedder: MeasuredEmbedder | None = None
) -> AsyncIterator[SmallMesh]:
    """blobs: in the folder when None. embedder: a small one when None."""
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(
            await Database.open(folder / "mesh.db", [RECORDS_SCHEMA, GRAPH_SCHEMA])
        )
        yield SmallMesh(
            SqliteRecords(database),
            SqliteGraph(database),
            blobs or ObjectBlobs.local(folder / "blobs"),
            embedder=embedder or SmallEmbedder(),
        )
