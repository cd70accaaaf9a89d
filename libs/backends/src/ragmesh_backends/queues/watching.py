"""Watching jobs: their present state first, then what changes, until all have ended.

Redis announces changes by publish/subscribe, which forgets: what is published while nobody listens is lost. So an
announcement only says which job to read again, the records are read after each (re)subscription has been confirmed,
and what has not ended is read again from time to time. A watcher that falls behind misses states in between, never
the last one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import structlog
from redis.asyncio.client import PubSub

from ragmesh_backends.model.job import Job
from ragmesh_backends.queues import keys
from ragmesh_backends.queues.connection import COMMAND_SECONDS, DEPENDENCY
from ragmesh_backends.queues.connection import QueueConnection as Connection
from ragmesh_backends.redis.client import bounded
from ragmesh_servicekit.errors import Reason, Unavailable

log = structlog.get_logger()

MAX_WATCHERS = 48
"""Each holds a connection of the client for blocking reads, whose pool has 64."""

REREAD_SECONDS = 5.0
GATHER_SECONDS = 0.05
RECONNECT_SECONDS = 10.0
"""How long a watcher bears a queue that is down before it is told."""

_PAUSE_SECONDS = 0.2
_MESSAGES_PER_ROUND = 1_000


class JobWatching(Connection):
    _watchers = 0

    async def watch(
        self, tenant: str, *, batch_id: str = "", job_ids: Sequence[str] = (), final_only: bool = False
    ) -> AsyncGenerator[Job, None]:
        """Each job of the batch, or of job_ids, as it is; then each job that changed, as it is then; ends when all
        have ended. A batch is watched with the jobs that join it; one that is unknown has ended. final_only: each job
        once, when it has ended, which costs a fraction for a large batch.

        NotFound (JOB_NOT_FOUND): one of job_ids does not exist or is another tenant's. Unavailable: the queue has not
        answered for 10 s, or 48 others are watching (OVERLOADED). Close the generator when you leave it early."""
        if self._watchers >= MAX_WATCHERS:
            raise Unavailable(
                f"too many watchers: {MAX_WATCHERS} at once are served; ask for the jobs from time to time instead",
                reason=Reason.OVERLOADED,
            )
        if not batch_id and not job_ids:
            return
        self._watchers += 1
        try:
            watcher = _Watch(self, tenant, batch_id, list(dict.fromkeys(job_ids)), final_only)
            async for job in watcher.changes():
                if job.state.final or not final_only:
                    yield job
        finally:
            self._watchers -= 1


class _Watch:
    """One watcher. seen: every job as it was last told."""

    def __init__(self, queue: JobWatching, tenant: str, batch_id: str, job_ids: list[str], final_only: bool) -> None:
        self._queue = queue
        self._tenant = tenant
        self._batch_id = batch_id
        self._job_ids = job_ids
        self._gather_seconds = GATHER_SECONDS if final_only else 0.0
        self._seen: dict[str, Job] = {}

    async def changes(self) -> AsyncIterator[Job]:
        loop = asyncio.get_running_loop()
        heard_at = loop.time()
        while True:
            try:
                async with self._subscribed() as messages:
                    dirty: Sequence[str] | None = None  # all
                    while True:
                        for job in await self._read(dirty):
                            yield job
                        heard_at = loop.time()
                        if all(job.state.final for job in self._seen.values()):
                            return
                        dirty = await self._announced(messages)
            except Unavailable as error:
                if error.reason is Reason.OVERLOADED or loop.time() - heard_at > RECONNECT_SECONDS:
                    raise
                log.info("jobs.watch_interrupted", message=error.message)
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _read(self, dirty: Sequence[str] | None) -> list[Job]:
        """Those of the jobs that differ from what was told; None: of all that have not ended."""
        queue = self._queue
        if dirty is None:
            members = await self._members()
            dirty = [job_id for job_id in members if job_id not in self._seen or not self._seen[job_id].state.final]
        jobs = await (queue._read(dirty) if self._batch_id else queue._of_tenant(self._tenant, dirty))
        changed = [job for job in jobs if job is not None and job != self._seen.get(job.job_id)]
        self._seen.update((job.job_id, job) for job in changed)
        return changed

    async def _members(self) -> Sequence[str]:
        if not self._batch_id:
            return self._job_ids
        async with bounded(self._queue._guard, DEPENDENCY, COMMAND_SECONDS):
            members: Any = await self._queue._state.zrange(keys.batch_index(self._tenant, self._batch_id), 0, -1)
        return list(members)

    @asynccontextmanager
    async def _subscribed(self) -> AsyncIterator[PubSub]:
        """A subscription that Redis has confirmed: from here on nothing is missed."""
        if self._batch_id:
            channels = [keys.batch_channel(self._tenant, self._batch_id)]
        else:
            channels = [keys.job_channel(job_id) for job_id in self._job_ids]
        messages = self._queue._blocking.pubsub()
        try:
            async with bounded(self._queue._guard, DEPENDENCY, COMMAND_SECONDS):
                await messages.subscribe(*channels)
                for _ in channels:
                    await messages.get_message(timeout=COMMAND_SECONDS)
            yield messages
        finally:
            await messages.aclose()  # type: ignore[no-untyped-call]  # the driver left it untyped

    async def _announced(self, messages: PubSub) -> list[str] | None:
        """The ids of jobs that changed: waits for the first, takes what else is there. None when it was quiet for so
        long that all should be read again."""
        found: dict[str, None] = {}
        wait = REREAD_SECONDS
        cap = REREAD_SECONDS + COMMAND_SECONDS
        async with bounded(self._queue._guard, DEPENDENCY, cap, waits_seconds=REREAD_SECONDS):
            while len(found) < _MESSAGES_PER_ROUND:
                message = await messages.get_message(ignore_subscribe_messages=True, timeout=wait)
                if message is None:
                    break
                if not found and self._gather_seconds:
                    await asyncio.sleep(self._gather_seconds)  # a burst is read once
                found[message["data"]] = None
                wait = 0.0
        return list(found) or None
