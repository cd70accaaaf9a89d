"""Jobs and their queue on Redis: a record for each job, one stream, one consumer group; delivered at least once."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, ResponseError

from ragmesh_backends.model.job import (
    Delivery,
    Job,
    JobStage,
    JobState,
    JobSubmission,
    KnownRequest,
    Outcome,
)
from ragmesh_backends.queues import scripts
from ragmesh_backends.queues.codec import data_of, job_of
from ragmesh_backends.queues.watching import watch_jobs
from ragmesh_backends.redis.calls import calling
from ragmesh_servicekit.errors import Aborted, FailedPrecondition, NotFound, Reason

PREFIX = "{jobs}"
STREAM = f"{PREFIX}:stream"
GROUP = "workers"
REQUEST_SECONDS = 24 * 3600
KEPT_SECONDS = 7 * 24 * 3600
ROLE = "queue"
SCAN_LIMIT = 5_000
"""A filtered list looks at so many jobs at most for one page."""


@dataclass(frozen=True, slots=True)
class JobPage:
    """next: what `after` of the next page is; "" on the last one."""

    jobs: tuple[Job, ...]
    next: str


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """length: entries not ended; pending: of those, in a worker's hands."""

    length: int
    pending: int
    oldest_age_seconds: float


class RedisJobs:
    """client for short calls, blocking for reads that wait and subscriptions. kept_seconds: how long an ended job can
    be read."""

    def __init__(self, client: Redis, blocking: Redis, *, kept_seconds: int = KEPT_SECONDS) -> None:
        self._client: Any = client
        self._blocking: Any = blocking
        self._kept_seconds = kept_seconds
        self._digests: dict[str, str] = {}
        self._has_group = False

    async def ping(self) -> None:
        async with calling(ROLE, "ping"):
            await self._client.ping()

    # -- promising -----------------------------------------------------------------------------------

    async def submit(self, submissions: Sequence[JobSubmission]) -> list[Job]:
        """Promise jobs, all in one step. A known job_id, or request_id with the same digest, returns what is there;
        another digest is Aborted. A job that ended is submitted anew when it comes without a request_id."""
        if not submissions:
            return []
        items = [
            {
                "id": s.job_id,
                "tenant": s.tenant,
                "batch": s.batch_id,
                "request": s.request_id,
                "digest": s.payload_digest,
                "data": data_of(s),
            }
            for s in submissions
        ]
        answers = await self._run("submit", scripts.SUBMIT, items, REQUEST_SECONDS, self._kept_seconds)
        if answers == ["REUSED"]:
            raise Aborted(f"request_id: `{submissions[0].request_id}` was used with another payload")
        return [job for flat in answers if (job := job_of(flat)) is not None]

    async def find_request(self, tenant: str, request_id: str) -> KnownRequest | None:
        """What the request_id was used for in the last 24 hours."""
        async with calling(ROLE, "find_request"):
            known: dict[str, str] = await self._client.hgetall(f"{PREFIX}:request:{tenant}:{request_id}")
        digest = known.pop("digest", None)
        if digest is None:
            return None
        jobs = await self._read(sorted(known, key=lambda job_id: known[job_id]))
        return KnownRequest(digest, tuple(jobs))

    # -- working -------------------------------------------------------------------------------------

    async def take(self, consumer: str, limit: int, block_seconds: float) -> list[Delivery]:
        """At most `limit` new jobs; waits up to block_seconds for the first."""
        await self._ensure_group()
        async with calling(ROLE, "take", block_seconds + 3.0):
            try:
                reply = await self._blocking.xreadgroup(
                    GROUP, consumer, {STREAM: ">"}, count=limit, block=max(1, int(block_seconds * 1000))
                )
            except ResponseError as error:
                if "NOGROUP" not in str(error):
                    raise
                self._has_group = False  # the server lost its data
                return []
        entries = _entries(reply)
        return await self._deliveries(entries)

    async def reclaim(self, consumer: str, min_idle_seconds: float, limit: int) -> list[Delivery]:
        """Jobs whose worker has given no sign of life for so long; they are the caller's now."""
        await self._ensure_group()
        entries: list[tuple[str, dict[str, str]]] = []
        cursor = "0-0"
        async with calling(ROLE, "reclaim"):
            while len(entries) < limit:
                reply = await self._client.xautoclaim(
                    STREAM, GROUP, consumer, int(min_idle_seconds * 1000), cursor, count=limit - len(entries)
                )
                cursor = reply[0]
                entries += [(entry, fields) for entry, fields in reply[1] if fields]
                if cursor == "0-0":
                    break
        return await self._deliveries(entries)

    async def start(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Mark RUNNING and count the attempt, before any work; without those that ended or were cancelled."""
        if not deliveries:
            return []
        answers = await self._run("start", scripts.START, _held(deliveries), self._kept_seconds)
        started = []
        for delivery, flat in zip(deliveries, answers, strict=True):
            job = job_of(flat)
            if job is not None:
                started.append(Delivery(delivery.entry_id, job))
        return started

    async def heartbeat(self, consumer: str, deliveries: Sequence[Delivery]) -> frozenset[str]:
        """A sign of life for jobs that are still this consumer's; the ids of those asked to stop."""
        if not deliveries:
            return frozenset()
        return frozenset(await self._run("heartbeat", scripts.HEARTBEAT, _held(deliveries), consumer))

    async def progress(self, deliveries: Sequence[Delivery], stage: JobStage, totals: Sequence[int]) -> None:
        """Where running jobs are."""
        items = [
            {**held, "stage": stage, "total": total} for held, total in zip(_held(deliveries), totals, strict=True)
        ]
        if items:
            await self._run("progress", scripts.PROGRESS, items)

    async def finish(self, outcomes: Sequence[Outcome]) -> None:
        """End jobs and acknowledge their entries in one step; of a job that is another worker's now, nothing."""
        items = [
            {
                **_held([outcome.delivery])[0],
                "state": outcome.state,
                "reason": outcome.failure_reason,
                "message": outcome.failure_message,
            }
            for outcome in outcomes
        ]
        if items:
            await self._run("finish", scripts.FINISH, items, self._kept_seconds)

    async def release(self, consumer: str, deliveries: Sequence[Delivery]) -> None:
        """Hand jobs back: they are delivered again at once, and their attempt does not count."""
        if deliveries:
            await self._run("release", scripts.RELEASE, [{**held, "uncounted": True} for held in _held(deliveries)])

    # -- reading -------------------------------------------------------------------------------------

    async def get(self, tenant: str, job_id: str) -> Job:
        """NotFound: no such job, or another tenant's."""
        for job in await self._read([job_id]):
            if job.tenant == tenant:
                return job
        raise NotFound(f"there is no job `{job_id}`", reason=Reason.JOB_NOT_FOUND)

    async def page(
        self,
        tenant: str,
        *,
        collection_id: str = "",
        batch_id: str = "",
        state: JobState | None = None,
        after: str = "",
        limit: int,
    ) -> JobPage:
        """Newest first. after: `next` of the page before."""
        key = f"{PREFIX}:batch:{tenant}:{batch_id}" if batch_id else f"{PREFIX}:tenant:{tenant}"
        start = 0
        if after:
            async with calling(ROLE, "list"):
                rank = await self._client.zrevrank(key, after)
            if rank is None:
                return JobPage((), "")
            start = int(rank) + 1
        found: list[Job] = []
        for offset in range(start, start + SCAN_LIMIT, 200):
            async with calling(ROLE, "list"):
                ids = await self._client.zrevrange(key, offset, offset + 199)
            for job in await self._read(ids):
                if collection_id in {"", job.collection_id} and state in {None, job.state}:
                    found.append(job)
                if len(found) > limit:
                    return JobPage(tuple(found[:limit]), found[limit - 1].job_id)
            if len(ids) < 200:
                break
        return JobPage(tuple(found), "")

    def watch(
        self, tenant: str, *, batch_id: str = "", job_ids: Sequence[str] = (), final_only: bool = False
    ) -> AsyncIterator[Job]:
        """Each job as it is, then after every change, until all have ended. final_only: each job once it has ended.
        NotFound for an unknown job or batch."""
        return watch_jobs(self, self._blocking, PREFIX, tenant, batch_id, tuple(job_ids), final_only)

    async def cancel(self, tenant: str, job_id: str) -> Job:
        """A waiting job ends; a running one is asked to. FailedPrecondition: it has ended already."""
        answer = await self._run("cancel", scripts.CANCEL, [{"id": job_id, "tenant": tenant}], self._kept_seconds)
        if answer == ["UNKNOWN"]:
            raise NotFound(f"there is no job `{job_id}`", reason=Reason.JOB_NOT_FOUND)
        if answer == ["FINISHED"]:
            raise FailedPrecondition(f"job `{job_id}` has ended already", reason=Reason.JOB_FINISHED)
        job = job_of(answer)
        assert job is not None
        return job

    async def depth(self) -> QueueDepth:
        """How much waits, and since when."""
        await self._ensure_group()
        async with calling(ROLE, "depth"):
            length = int(await self._client.xlen(STREAM))
            pending = await self._client.xpending(STREAM, GROUP)
            first = await self._client.xrange(STREAM, count=1)
            now = (await self._client.time())[0]
        oldest = max(0.0, now - int(first[0][0].split("-")[0]) / 1000) if first else 0.0
        return QueueDepth(length, int(pending["pending"]), oldest)

    async def jobs_of_batch(self, tenant: str, batch_id: str) -> list[str]:
        """Ids of a batch's jobs, oldest first."""
        async with calling(ROLE, "list"):
            return list(await self._client.zrange(f"{PREFIX}:batch:{tenant}:{batch_id}", 0, -1))

    async def read_many(self, tenant: str, job_ids: Iterable[str]) -> Mapping[str, Job]:
        """The tenant's jobs of these ids that exist."""
        return {job.job_id: job for job in await self._read(list(job_ids)) if job.tenant == tenant}

    # -- inside --------------------------------------------------------------------------------------

    async def _read(self, job_ids: Sequence[str]) -> list[Job]:
        found: list[Job] = []
        for offset in range(0, len(job_ids), 500):
            async with calling(ROLE, "read"):
                pipeline = self._client.pipeline(transaction=False)
                for job_id in job_ids[offset : offset + 500]:
                    pipeline.hgetall(f"{PREFIX}:job:{job_id}")
                found += [job for fields in await pipeline.execute() if (job := job_of(fields)) is not None]
        return found

    async def _deliveries(self, entries: Sequence[tuple[str, Mapping[str, str]]]) -> list[Delivery]:
        jobs = {job.job_id: job for job in await self._read([fields["job"] for _, fields in entries])}
        orphans = [entry for entry, fields in entries if fields["job"] not in jobs]
        if orphans:  # their records have expired
            async with calling(ROLE, "discard"):
                await self._client.xack(STREAM, GROUP, *orphans)
                await self._client.xdel(STREAM, *orphans)
        return [Delivery(entry, jobs[fields["job"]]) for entry, fields in entries if fields["job"] in jobs]

    async def _ensure_group(self) -> None:
        if self._has_group:
            return
        async with calling(ROLE, "group"):
            try:
                await self._client.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
            except ResponseError as error:
                if "BUSYGROUP" not in str(error):
                    raise
        self._has_group = True

    async def _run(self, operation: str, script: str, items: Sequence[Mapping[str, Any]], *arguments: object) -> Any:
        """One script over all items. A server that does not have it, a restarted one, is given it once."""
        payload = json.dumps(items, ensure_ascii=False)
        async with calling(ROLE, operation):
            digest = self._digests.get(operation)
            if digest is None:
                digest = self._digests[operation] = await self._client.script_load(script)
            try:
                return await self._client.evalsha(digest, 1, PREFIX, payload, *arguments)
            except NoScriptError:
                await self._client.script_load(script)
                return await self._client.evalsha(digest, 1, PREFIX, payload, *arguments)


def _held(deliveries: Sequence[Delivery]) -> list[dict[str, Any]]:
    return [{"id": d.job.job_id, "entry": d.entry_id, "attempt": d.job.attempt} for d in deliveries]


def _entries(reply: Any) -> list[tuple[str, dict[str, str]]]:
    """The entries of an XREADGROUP reply, which is a list or, in protocol 3, a mapping of streams."""
    if not reply:
        return []
    streams = reply.items() if isinstance(reply, Mapping) else reply
    found: list[tuple[str, dict[str, str]]] = []
    for _, entries in streams:
        for entry in entries:
            if isinstance(entry, (list, tuple)) and entry and isinstance(entry[0], (list, tuple)):
                found += [(e, f) for e, f in entry if f]
            elif entry[1]:
                found.append((entry[0], entry[1]))
    return found
