"""The workers' side: jobs are taken, kept, reported on, ended and handed back.

A job that was taken stays in the group's list of pending entries until it ends; a worker that shows no sign of life
loses it to `reclaim`. Nothing here is delivered at most once: every change of a job is fenced by its attempt instead.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import structlog
from redis.asyncio import Redis

from ragmesh_backends.model.job import Delivery, JobStage, JobState, Outcome
from ragmesh_backends.queues import keys
from ragmesh_backends.queues.connection import COMMAND_SECONDS, DEPENDENCY, JOBS_PER_SCRIPT, RETENTION_SECONDS
from ragmesh_backends.queues.connection import QueueConnection as Connection
from ragmesh_backends.queues.records import moment
from ragmesh_backends.queues.scripts import FINISH, FORGET_CONSUMERS, HEARTBEAT, PROGRESS, RELEASE, START
from ragmesh_backends.redis.client import MAX_BLOCK_SECONDS, bounded
from ragmesh_servicekit.resilience.guard import Guard
from ragmesh_servicekit.telemetry import metrics
from ragmesh_servicekit.telemetry.tracing import span

log = structlog.get_logger()

MESSAGE_CHARS = 1000
"""Of a failure's sentence; what is longer is cut."""

CONSUMER_IDLE_SECONDS = 3600.0
CONSUMERS_EVERY_SECONDS = 60.0
SCANS_PER_RECLAIM = 64
"""Rounds of one reclaim; each looks at ten times `limit` pending entries at most, the next goes on from there."""


_OUTCOMES = {JobState.READY: "ready", JobState.DEAD_LETTERED: "failed", JobState.CANCELLED: "cancelled"}


class JobDelivery(Connection):
    def __init__(
        self,
        state: Redis,
        blocking: Redis,
        *,
        guard: Guard | None = None,
        retention_seconds: float = RETENTION_SECONDS,
    ) -> None:
        super().__init__(state, blocking, guard=guard, retention_seconds=retention_seconds)
        self._scan_from = "0-0"
        self._consumers_at = 0.0

    async def take(self, consumer: str, limit: int, block_seconds: float) -> list[Delivery]:
        """At most `limit` jobs that no worker has had yet, oldest first; waits up to block_seconds (20 s at most) for
        the first, and returns [] when none came. They are this consumer's until they end, are released, or are
        reclaimed for want of a heartbeat."""
        wait = min(max(block_seconds, 0.0), MAX_BLOCK_SECONDS)

        async def read() -> Any:
            return await self._blocking.xreadgroup(
                keys.GROUP, consumer, {keys.STREAM: ">"}, count=limit, block=int(wait * 1000) or None
            )

        async with bounded(self._guard, DEPENDENCY, wait + COMMAND_SECONDS, waits_seconds=wait):
            reply = await self._in_group(read)
        taken = await self._delivered([entry for _, entries in reply or () for entry in entries])
        metrics.JOB_EVENTS.labels("taken").inc(len(taken))
        return taken

    async def reclaim(self, consumer: str, min_idle_seconds: float, limit: int) -> list[Delivery]:
        """At most `limit` jobs whose worker has given no sign of life for min_idle_seconds: they are this consumer's
        now. To be called at start and on a timer, whether or not new jobs come."""
        await self._forget_consumers()
        found: list[Any] = []
        for _ in range(SCANS_PER_RECLAIM):

            async def claim(count: int = limit - len(found)) -> Any:
                return await self._state.xautoclaim(
                    keys.STREAM, keys.GROUP, consumer, int(min_idle_seconds * 1000), self._scan_from, count=count
                )

            async with bounded(self._guard, DEPENDENCY, COMMAND_SECONDS):
                reply = await self._in_group(claim)
            self._scan_from = str(reply[0])
            # Redis 6.2 gives an entry that was deleted while it was pending as nil: there is nothing left to deliver.
            found += [entry for entry in reply[1] if entry[0] is not None]
            if len(found) >= limit or self._scan_from == "0-0":
                break
        reclaimed = await self._delivered(found)
        metrics.JOB_EVENTS.labels("reclaimed").inc(len(reclaimed))
        return reclaimed

    async def start(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Mark as RUNNING and count the attempt, before the work starts, so that an attempt that kills its worker is
        counted too. Returns those to work on, with their jobs as they are now. The others need nothing more: they
        were cancelled, have ended, or were reclaimed and started by another worker meanwhile."""
        started = []
        with span("queue.start", db_system_name="redis", ragmesh_jobs=len(deliveries)):
            for part in _parts(deliveries):
                reply = await self._run(START, self._starter, *_fenced(part))
                for one, attempt, at in zip(part, reply[::2], reply[1::2], strict=True):
                    if attempt:
                        job = replace(
                            one.job,
                            state=JobState.RUNNING,
                            stage=JobStage.PARSING,
                            done=0,
                            total=0,
                            attempt=int(attempt),
                            updated_at=moment(int(at)),
                        )
                        started.append(Delivery(one.entry_id, job))
        return started

    async def heartbeat(self, consumer: str, deliveries: Sequence[Delivery]) -> frozenset[str]:
        """A sign of life for these jobs, to be given several times within a reclaim's min_idle_seconds. Returns the
        ids of those that are asked to stop. One that another worker has started meanwhile is left to it."""
        stop: set[str] = set()
        for part in _parts(deliveries):
            # A probe: no breaker may cost a worker its jobs, and this is asked more often than the health check.
            stop.update(await self._run(HEARTBEAT, consumer, *_fenced(part), probe=True))
        return frozenset(stop)

    async def progress(self, deliveries: Sequence[Delivery], stage: JobStage, totals: Sequence[int]) -> None:
        """Where running jobs are: their stage, and how many chunks it has of each. What is not this worker's any more
        is left as it is."""
        pairs = list(zip(deliveries, totals, strict=True))
        with span("queue.progress", db_system_name="redis", ragmesh_jobs=len(pairs)):
            for at in range(0, len(pairs), JOBS_PER_SCRIPT):
                arguments: list[str | int] = [stage.value]
                for one, total in pairs[at : at + JOBS_PER_SCRIPT]:
                    arguments += [one.job.job_id, one.job.attempt, total]
                await self._run(PROGRESS, *arguments)

    async def finish(self, outcomes: Sequence[Outcome]) -> None:
        """End jobs: record and queue entry in one step each. Bears repetition. A job that another worker has started
        meanwhile is left to it."""
        stale = 0
        with span("queue.finish", db_system_name="redis", ragmesh_jobs=len(outcomes)):
            for at in range(0, len(outcomes), JOBS_PER_SCRIPT):
                arguments: list[str | int] = [self._retention_microseconds]
                for one in outcomes[at : at + JOBS_PER_SCRIPT]:
                    if not one.state.final:
                        raise ValueError(f"a job cannot end as {one.state}")
                    arguments += _fenced([one.delivery])
                    arguments += [one.state.value, one.failure_reason, one.failure_message[:MESSAGE_CHARS]]
                stale += await self._run(FINISH, *arguments)
        for one in outcomes:
            metrics.ENDED_DOCUMENTS.labels(_OUTCOMES[one.state]).inc()
        if stale:
            log.warning("jobs.stale_outcomes", jobs=stale)

    async def release(self, consumer: str, deliveries: Sequence[Delivery]) -> None:
        """Hand jobs back: the next `take` of any worker gets them. One that is asked to stop is CANCELLED instead."""
        with span("queue.release", db_system_name="redis", ragmesh_jobs=len(deliveries)):
            for part in _parts(deliveries):
                released: int = await self._run(RELEASE, *_fenced(part))
                metrics.JOB_EVENTS.labels("released").inc(released)

    async def _delivered(self, entries: Sequence[tuple[str, dict[str, str] | None]]) -> list[Delivery]:
        """The entries with their jobs. One without a record belongs to nothing and is removed."""
        named = [(entry_id, fields["job"]) for entry_id, fields in entries if fields and "job" in fields]
        jobs = await self._read([job_id for _, job_id in named])
        found = {
            entry_id: Delivery(entry_id, job) for (entry_id, _), job in zip(named, jobs, strict=True) if job is not None
        }
        strays = [entry_id for entry_id, _ in entries if entry_id not in found]
        if strays:
            log.warning("queue.stray_entries", entries=len(strays))
            async with bounded(self._guard, DEPENDENCY, COMMAND_SECONDS):
                await self._state.xack(keys.STREAM, keys.GROUP, *strays)
                await self._state.xdel(keys.STREAM, *strays)
        return list(found.values())

    async def _forget_consumers(self) -> None:
        now = time.monotonic()
        if now < self._consumers_at:
            return
        self._consumers_at = now + CONSUMERS_EVERY_SECONDS
        async with bounded(self._guard, DEPENDENCY, COMMAND_SECONDS):
            idle = int(CONSUMER_IDLE_SECONDS * 1000)
            await self._in_group(lambda: FORGET_CONSUMERS.run(self._state, keys.PREFIX, idle))


def _parts(deliveries: Sequence[Delivery]) -> list[Sequence[Delivery]]:
    return [deliveries[at : at + JOBS_PER_SCRIPT] for at in range(0, len(deliveries), JOBS_PER_SCRIPT)]


def _fenced(deliveries: Sequence[Delivery]) -> list[str | int]:
    """Of each: id, entry and the attempt by which the record knows its worker."""
    arguments: list[str | int] = []
    for one in deliveries:
        arguments += [one.job.job_id, one.entry_id, one.job.attempt]
    return arguments
