"""What is left behind is removed, and what was promised but lost is queued again.

A retired version's rows may go only when no search that began before the flip can still read them, so they are
deleted `grace_seconds` after it. Reconciling compares the record with the queue: a version that is pending for a
while and whose job the queue does not know is submitted again from the record.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog

from ragmesh_backends.model.collection import DroppedIndex, IndexRef
from ragmesh_backends.model.copies import STAGED_AT
from ragmesh_backends.model.document import DocumentVersion, RetiredVersion, VersionRecord
from ragmesh_backends.model.job import JobSubmission
from ragmesh_ingestor.domain.blob_keys import index_prefix
from ragmesh_ingestor.domain.ports import Blobs, Graph, Queue, Records, Vectors, Visibility
from ragmesh_servicekit.errors import MeshError, NotFound

log = structlog.get_logger()

_PAGE = 200


@dataclass(frozen=True, slots=True)
class SweeperSettings:
    """grace_seconds: age of a retired version whose rows are deleted; longer than any search. pending_seconds: age of
    a pending version whose job is looked for. interval_seconds: between two rounds. reconcile_seconds: between two
    looks for lost jobs; each goes on with the next page until reconciling_seconds have passed. staged_seconds: after
    which a restore that has not ended is named, and between two times that it is."""

    grace_seconds: float = 10.0
    pending_seconds: float = 30.0
    interval_seconds: float = 5.0
    reconcile_seconds: float = 30.0
    reconciling_seconds: float = 20.0
    staged_seconds: float = 3600.0


class Sweeper:
    """`run` is a task of the process; `sweep` and `reconcile` may be called on their own."""

    def __init__(
        self,
        records: Records,
        vectors: Vectors,
        graph: Graph,
        visibility: Visibility,
        blobs: Blobs,
        queue: Queue,
        settings: SweeperSettings | None = None,
    ) -> None:
        self._records = records
        self._vectors = vectors
        self._graph = graph
        self._visibility = visibility
        self._blobs = blobs
        self._queue = queue
        self._settings = settings or SweeperSettings()
        self._reconciled: VersionRecord | None = None
        self._staged: dict[IndexRef, float] = {}

    async def run(self) -> None:
        """Sweep and reconcile until cancelled. A store that is down costs this round only."""
        loop = asyncio.get_running_loop()
        reconcile_at = loop.time()
        while True:
            try:
                if loop.time() >= reconcile_at:
                    reconcile_at = loop.time() + self._settings.reconcile_seconds
                    await self.reconcile()
                    await self.rebuild_visibility()
                await self.sweep()
            except MeshError as error:
                log.warning("sweeper.round_failed", reason=error.reason, message=error.message)
            await asyncio.sleep(self._settings.interval_seconds)

    async def sweep(self) -> int:
        """Delete what is due; how many versions and indexes that were."""
        swept = 0
        while True:
            retired = await self._records.retired_versions(self._settings.grace_seconds, _PAGE)
            by_index: dict[IndexRef, list[RetiredVersion]] = defaultdict(list)
            for version in retired:
                by_index[version.index].append(version)
            for index, versions in by_index.items():
                await self._sweep_versions(index, versions)
            swept += len(retired)
            if len(retired) < _PAGE:
                break
        due = datetime.now(UTC) - timedelta(seconds=self._settings.grace_seconds)
        dropped_indexes = await self._records.list_dropped_indexes(_PAGE)
        for dropped in dropped_indexes:
            if dropped.dropped_at <= due:
                swept += await self._sweep_index(dropped)
        self._name_staged([dropped for dropped in dropped_indexes if dropped.dropped_at == STAGED_AT])
        return swept

    def _name_staged(self, staged: Sequence[DroppedIndex]) -> None:
        """Tell once an hour of what a restore has begun long ago: it may still be running, or was killed and has left
        rows and blobs until its tenant is restored again."""
        now = asyncio.get_running_loop().time()
        self._staged = {one.index: self._staged.get(one.index, now) for one in staged}
        for index, since in self._staged.items():
            if now - since >= self._settings.staged_seconds:
                self._staged[index] = now
                log.warning("restore.unfinished", tenant=index.tenant, index=index.name)

    async def reconcile(self) -> int:
        """Submit again what is pending and unknown to the queue; how many jobs that were. All of it, page by page,
        oldest first; what there was no time for is where the next call begins."""
        loop, settings = asyncio.get_running_loop(), self._settings
        until, jobs = loop.time() + settings.reconciling_seconds, 0
        while True:
            page = await self._records.pending_versions(settings.pending_seconds, _PAGE, self._reconciled)
            jobs += await self._reconcile(page)
            self._reconciled = page[-1] if len(page) == _PAGE else None
            if self._reconciled is None or loop.time() >= until:
                return jobs

    async def _reconcile(self, pending: Sequence[VersionRecord]) -> int:
        lost = [record for record in pending if not await self._queued(record)]
        by_index: dict[IndexRef, list[VersionRecord]] = defaultdict(list)
        for record in lost:
            by_index[record.index].append(record)
        for index, records in by_index.items():
            await self._visibility.hide(index, [version_of(record) for record in records])
        if lost:
            await self._queue.submit([submission_of(record) for record in lost])
            log.info("jobs.reconciled", jobs=len(lost))
        return len(lost)

    async def rebuild_visibility(self) -> int:
        """Make the hidden sets whole that a Redis without its data has lost; how many those were."""
        rebuilt, after = 0, ""
        while indexes := await self._records.list_indexes(after, _PAGE):
            for index in indexes:
                if await self._visibility.hidden(index) is None:
                    await self._visibility.rebuild(index, await self._records.hidden_versions(index))
                    rebuilt += 1
            after = indexes[-1].name
        if rebuilt:
            log.warning("visibility.rebuilt", indexes=rebuilt)
        return rebuilt

    async def _queued(self, record: VersionRecord) -> bool:
        """Whether the queue has a job for it that still runs or waits. One that ended without the record knowing
        (the record store was down) is failed or tried again."""
        try:
            job = await self._queue.get(record.tenant, record.job_id)
        except NotFound:
            return False
        if job.state.final:
            message = job.failure_message or "its job was cancelled"
            await self._records.fail_version(record.index, record.document_id, record.version, message)
        return True

    async def _sweep_versions(self, index: IndexRef, retired: Sequence[RetiredVersion]) -> None:
        versions = [one.version for one in retired]
        with contextlib.suppress(NotFound):  # no such index any more: then no rows either
            await self._vectors.delete_versions(index, versions)
        await self._graph.delete_versions(index, versions)
        keys = [key for one in retired for key in one.blob_keys]
        await self._blobs.delete_many(keys)
        await self._records.forget_versions(index, versions)
        await self._visibility.forget(index, versions)
        log.info("versions.swept", index=index.name, versions=len(versions))

    async def _sweep_index(self, dropped: DroppedIndex) -> int:
        """The record is forgotten last: until then every step is tried again."""
        index = dropped.index
        await self._vectors.drop_index(index)
        await self._graph.drop_index(index)
        await self._blobs.delete_prefix(index_prefix(index))
        await self._visibility.drop(index)
        await self._records.forget_dropped_index(index)
        log.info("index.swept", index=index.name)
        return 1


def version_of(record: VersionRecord) -> DocumentVersion:
    return DocumentVersion(record.document_id, record.version)


def submission_of(record: VersionRecord) -> JobSubmission:
    """The job of a version, as it was submitted but for its request_id, whose answer was given long ago."""
    return JobSubmission(
        job_id=record.job_id,
        tenant=record.tenant,
        principal=record.principal,
        groups=record.groups,
        collection_id=record.collection_id,
        document_id=record.document_id,
        version=record.version,
        batch_id=record.batch_id,
    )
