"""The worker: jobs from the queue to searchable documents, through a pipeline of three stages.

    take, parse and cut  ->  embed  ->  write, read back, flip

Stages work on groups of documents and hand them over through bounded queues, so that the embedder, which costs
ten times the rest, never waits for a parser or a store, and a store never waits for a single document. Whatever
happens, a job that was taken ends, is handed back, or stays this worker's (its lease is kept alive) while it waits
for a store; so none is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import structlog

from ragmesh_backends.model.collection import IndexRef
from ragmesh_backends.model.document import DocumentVersion, VersionState
from ragmesh_backends.model.job import Delivery, JobStage, JobState, Outcome
from ragmesh_ingestor.domain.chunking import embedding_text
from ragmesh_ingestor.domain.patience import patiently
from ragmesh_ingestor.domain.ports import (
    Blobs,
    Embedder,
    Graph,
    Parser,
    Queue,
    Records,
    StageClock,
    Vectors,
    Visibility,
)
from ragmesh_ingestor.domain.preparing import Ended, Interrupted, Located, Prepared, Preparer
from ragmesh_ingestor.domain.storing import Storer, described, refusal
from ragmesh_servicekit.errors import DeadlineExceeded, MeshError, NotFound, Unavailable

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """take_documents: taken at once. group_documents, group_bytes: of those, parsed and embedded together; a larger
    document goes alone. embed_chunks: passages for one call of the embedder. report_chunks: stages of a
    document of fewer passages are not reported; it is through within a second of its turn, and telling so would cost a
    tenth of what it costs besides its embedding. store_chunks: passages written together.
    visibility_lag_seconds: between hiding a version and its first row, longer than a reader's view of what is hidden
    may be old. heartbeat_seconds: between two signs of life of taken jobs. reclaim_idle_seconds: without a sign of
    life for so long a job is taken from its worker. max_attempts: of a document that fails for an unknown reason.
    """

    take_documents: int = 128
    group_documents: int = 128
    group_bytes: int = 4 * 1024 * 1024
    embed_chunks: int = 256
    report_chunks: int = 8
    store_chunks: int = 512
    visibility_lag_seconds: float = 1.0
    block_seconds: float = 0.5
    heartbeat_seconds: float = 2.0
    reclaim_idle_seconds: float = 10.0
    max_attempts: int = 3


_PARSED_GROUPS = 1
"""Groups that wait for the embedder, besides the one in preparation: enough that it never waits for them."""

_EMBEDDING_GROUPS = 2

_HAND_BACK_SECONDS = 2.0

_EMBEDDED_GROUPS = 4
"""Groups that wait for the stores: enough to bridge the visibility lag."""


class Worker:
    """One `run` for each instance. consumer: this process's name in the queue."""

    def __init__(
        self,
        consumer: str,
        queue: Queue,
        records: Records,
        vectors: Vectors,
        graph: Graph,
        visibility: Visibility,
        blobs: Blobs,
        parser: Parser,
        embedder: Embedder,
        settings: WorkerSettings | None = None,
        clock: StageClock = contextlib.nullcontext,
    ) -> None:
        self._consumer = consumer
        self._queue = queue
        self._records = records
        self._embedder = embedder
        self._preparer = Preparer(records, blobs, parser, embedder.model_id)
        self._storer = Storer(records, vectors, graph, visibility, blobs)
        self._settings = settings or WorkerSettings()
        self._clock = clock
        self._owned: dict[str, Delivery] = {}
        self._cancelled: set[str] = set()
        self._stopping = asyncio.Event()
        self._finished = asyncio.Event()
        self._parsed: asyncio.Queue[list[Prepared] | None] = asyncio.Queue(_PARSED_GROUPS)
        self._embedded: asyncio.Queue[list[Prepared] | None] = asyncio.Queue(_EMBEDDED_GROUPS)

    @property
    def owned(self) -> int:
        """Jobs that were taken and have not ended."""
        return len(self._owned)

    async def run(self) -> None:
        """Work until drained or cancelled; what is then unfinished is handed back. An error that leaves here is a
        fault of ours and should end the process."""
        try:
            async with asyncio.TaskGroup() as tasks:
                keeper = [
                    tasks.create_task(self._keep_alive(), name="worker.heartbeat"),
                    tasks.create_task(self._reclaim_stale(), name="worker.reclaim"),
                ]
                tasks.create_task(self._intake(), name="worker.intake")
                tasks.create_task(self._embed_groups(), name="worker.embed")
                await tasks.create_task(self._store_groups(), name="worker.store")
                for task in keeper:
                    task.cancel()
        finally:
            self._finished.set()
            await asyncio.shield(self._hand_back())

    async def drain(self, grace_seconds: float) -> bool:
        """Take nothing more and wait for what was taken; whether all of it ended in time. When not, cancel `run`."""
        self._stopping.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_seconds):
                await self._finished.wait()
        return self._finished.is_set()

    async def _intake(self) -> None:
        while not self._stopping.is_set():
            try:
                deliveries = await patiently("take", self._take, stop=self._stopping)
            except (Unavailable, DeadlineExceeded):
                break  # told to stop while the queue is down: nothing can be taken, and patience has said so
            if deliveries:
                await self._begin(deliveries)
        await self._parsed.put(None)
        log.info("worker.intake_ended", owned=len(self._owned))

    async def _take(self) -> list[Delivery]:
        return await self._queue.take(self._consumer, self._settings.take_documents, self._settings.block_seconds)

    async def _begin(self, deliveries: Sequence[Delivery]) -> None:
        """Own the deliveries and put them through the first stage."""
        taken_at = asyncio.get_running_loop().time()
        fresh = [delivery for delivery in deliveries if delivery.job.job_id not in self._owned]
        for delivery in fresh:
            self._owned[delivery.job.job_id] = delivery
        started = await patiently("start", lambda: self._queue.start(fresh))
        running = {delivery.job.job_id for delivery in started}
        for delivery in fresh:
            if delivery.job.job_id in running:
                continue
            del self._owned[delivery.job.job_id]  # cancelled or ended meanwhile
        self._owned.update((delivery.job.job_id, delivery) for delivery in started)
        located = await patiently("locate", lambda: self._preparer.locate(started))
        await self._end([one for one in located if isinstance(one, Ended)])
        await self._show_active([one for one in located if isinstance(one, Located)])
        pending = [one for one in located if isinstance(one, Located) and one.record.state is VersionState.PENDING]
        for group in _groups(pending, self._settings.group_documents, self._settings.group_bytes):
            await self._prepare(group, taken_at)

    async def _show_active(self, located: Sequence[Located]) -> None:
        for one in located:
            if one.record.state is VersionState.ACTIVE:
                version = DocumentVersion(one.record.document_id, one.record.version)
                await patiently("show", partial(self._storer.show, one.record.index, [version]))
                await self._end([Ended(one.delivery, JobState.READY)])

    async def _prepare(self, group: Sequence[Located], taken_at: float) -> None:
        try:
            with self._clock(JobStage.PARSING):
                results = await patiently("prepare", lambda: self._preparer.prepare(group, taken_at))
        except Exception as error:
            if len(group) == 1:
                log.error("worker.prepare_failed", job_id=group[0].delivery.job.job_id, **described(error))
                await self._interrupt([Interrupted(group[0].delivery, group[0].index, *refusal(error))])
                return
            for one in group:
                await self._prepare([one], taken_at)
            return
        await self._end([one for one in results if isinstance(one, Ended)])
        await self._interrupt([one for one in results if isinstance(one, Interrupted)])
        prepared = [one for one in results if isinstance(one, Prepared)]
        if prepared:
            await self._report(prepared, JobStage.EMBEDDING)
            await self._parsed.put(prepared)

    async def _report(self, group: Sequence[Prepared], stage: JobStage) -> None:
        """Say where the jobs of larger documents are. Only a word to their owners: when it cannot be said, the work
        goes on."""
        large = [one for one in group if len(one.chunks) >= self._settings.report_chunks]
        if not large:
            return
        try:
            await self._queue.progress([one.delivery for one in large], stage, [len(one.chunks) for one in large])
        except MeshError as error:
            log.warning("worker.progress_failed", reason=error.reason)

    async def _embed_groups(self) -> None:
        """Two groups side by side, handed on in their order: while one ends, the other keeps the embedder's threads at
        work. What waits to be handed on is bounded, so a store that is down stops the intake and not the memory."""
        running: asyncio.Queue[asyncio.Task[list[list[Prepared]]] | None] = asyncio.Queue(_EMBEDDING_GROUPS)
        places = asyncio.Semaphore(_EMBEDDING_GROUPS)

        async def embed(group: list[Prepared]) -> list[list[Prepared]]:
            try:
                return await self._embed(await self._without_cancelled(group))
            finally:
                places.release()

        async def hand_on() -> None:
            while (task := await running.get()) is not None:
                for part in await task:
                    await self._report(part, JobStage.WRITING)
                    await self._embedded.put(part)
            await self._embedded.put(None)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(hand_on(), name="worker.embedded")
            await places.acquire()
            while (group := await self._parsed.get()) is not None:
                await running.put(tasks.create_task(embed(group), name="worker.embed_group"))
                await places.acquire()
            await running.put(None)

    async def _embed(self, group: list[Prepared]) -> list[list[Prepared]]:
        """All passages of the group in as few calls as the limit allows; a document that the embedder refuses is
        found by embedding each alone."""
        if not group:
            return []
        texts = [embedding_text(chunk) for one in group for chunk in one.chunks]
        size = self._settings.embed_chunks
        try:
            parts = []
            with self._clock(JobStage.EMBEDDING):
                for at in range(0, len(texts), size):
                    part = texts[at : at + size]
                    parts.append(await patiently("embed", partial(self._embedder.embed_documents, part)))
        except Exception as error:
            if len(group) == 1:
                log.error("worker.embed_failed", job_id=group[0].delivery.job.job_id, **described(error))
                await self._interrupt([Interrupted(group[0].delivery, group[0].index, *refusal(error))])
                return []
            return [part for one in group for part in await self._embed([one])]
        vectors = np.concatenate(parts)
        at = 0
        for one in group:
            one.vectors = vectors[at : at + len(one.chunks)]
            at += len(one.chunks)
        return [group]

    async def _store_groups(self) -> None:
        """Groups in their order, each when it is due; what else is due by then is written with it, because a call
        costs a store little more than one document does."""
        loop = asyncio.get_running_loop()
        held: list[Prepared] | None = await self._embedded.get()
        while held is not None:
            await asyncio.sleep(self._due(held) - loop.time())
            batch = held
            held = None
            while sum(len(one.chunks) for one in batch) < self._settings.store_chunks and not self._embedded.empty():
                held = self._embedded.get_nowait()
                if held is None:
                    return await self._store(batch)
                if self._due(held) > loop.time():
                    break
                batch, held = batch + held, None
            await self._store(batch)
            if held is None:
                held = await self._embedded.get()

    def _due(self, group: Sequence[Prepared]) -> float:
        """When the first row may be written. Every reader must have seen by then that the versions are hidden. They
        were hidden before they were queued, so counting from the delivery is safe whatever other machines' clocks
        say."""
        return max(one.taken_at for one in group) + self._settings.visibility_lag_seconds

    async def _store(self, group: list[Prepared]) -> None:
        group = await self._without_cancelled(group)
        if group:
            with self._clock(JobStage.WRITING):
                results = await self._storer.store(group)
            await self._end([one for one in results if isinstance(one, Ended)])
            await self._interrupt([one for one in results if isinstance(one, Interrupted)])

    async def _without_cancelled(self, group: Sequence[Prepared]) -> list[Prepared]:
        """Those that nobody has asked to stop; the others end here, before anything of them can be seen."""
        stop = [one for one in group if one.delivery.job.job_id in self._cancelled]
        await self._end(
            [Ended(one.delivery, JobState.CANCELLED, message="it was cancelled", failed_in=one.index) for one in stop]
        )
        return [one for one in group if one not in stop] if stop else list(group)

    async def _end(self, ended: Sequence[Ended]) -> None:
        """Record first, then the queue: a job that is over in the queue is over everywhere."""
        if not ended:
            return
        for one in ended:
            if one.failed_in is not None:
                await patiently("fail", partial(self._fail, one, one.failed_in))
        outcomes = [Outcome(one.delivery, one.state, one.reason, one.message) for one in ended]
        await patiently("finish", lambda: self._queue.finish(outcomes))
        for one in ended:
            job_id = one.delivery.job.job_id
            self._owned.pop(job_id, None)
            self._cancelled.discard(job_id)
            if one.state is JobState.DEAD_LETTERED:
                log.warning("job.dead_lettered", job_id=job_id, reason=one.reason, attempt=one.delivery.job.attempt)
        log.info("jobs.ended", jobs=len(ended))

    async def _fail(self, one: Ended, index: IndexRef) -> None:
        job = one.delivery.job
        with contextlib.suppress(NotFound):  # deleted meanwhile
            await self._records.fail_version(index, job.document_id, job.version, one.message)

    async def _interrupt(self, interrupted: Sequence[Interrupted]) -> None:
        """Another attempt for those that have one left, the dead letters for the rest."""
        over = [one for one in interrupted if one.delivery.job.attempt >= self._settings.max_attempts]
        await self._end(
            [Ended(one.delivery, JobState.DEAD_LETTERED, one.reason, one.message, failed_in=one.index) for one in over]
        )
        again = [one.delivery for one in interrupted if one not in over]
        if again:
            await patiently("release", lambda: self._queue.release(self._consumer, again))
            for delivery in again:
                self._owned.pop(delivery.job.job_id, None)

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(self._settings.heartbeat_seconds)
            if self._owned:
                try:
                    self._cancelled |= await self._queue.heartbeat(self._consumer, list(self._owned.values()))
                except MeshError as error:
                    log.warning("worker.heartbeat_failed", reason=error.reason)

    async def _reclaim_stale(self) -> None:
        """Jobs of workers that died, this one's predecessor included; at start and then from time to time."""
        settings = self._settings
        while not self._stopping.is_set():
            found = await patiently(
                "reclaim",
                lambda: self._queue.reclaim(self._consumer, settings.reclaim_idle_seconds, settings.group_documents),
            )
            if found:
                log.info("jobs.reclaimed", jobs=len(found))
                await self._begin(found)
            else:
                await asyncio.sleep(settings.reclaim_idle_seconds / 4)

    async def _hand_back(self) -> None:
        """What is unfinished is another worker's. A queue that does not answer now finds out by the missing sign of
        life."""
        if not self._owned:
            return
        try:
            async with asyncio.timeout(_HAND_BACK_SECONDS):
                await self._queue.release(self._consumer, list(self._owned.values()))
            log.info("jobs.handed_back", jobs=len(self._owned))
        except (MeshError, TimeoutError) as error:
            log.warning("jobs.not_handed_back", jobs=len(self._owned), error=type(error).__name__)


def _groups(located: Sequence[Located], limit_documents: int, limit_bytes: int) -> Iterator[list[Located]]:
    """Runs of at most limit_documents and limit_bytes; a larger document alone."""
    held: list[Located] = []
    size = 0
    for one in located:
        if held and (len(held) == limit_documents or size + one.record.size_bytes > limit_bytes):
            yield held
            held, size = [], 0
        held.append(one)
        size += one.record.size_bytes
    if held:
        yield held
