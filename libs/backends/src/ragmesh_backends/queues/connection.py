"""What every part of the queue does with Redis: run a script, read records."""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from ragmesh_backends.model.job import Job
from ragmesh_backends.queues import keys
from ragmesh_backends.queues.records import decoded
from ragmesh_backends.redis.client import bounded
from ragmesh_backends.redis.script import Script
from ragmesh_servicekit.errors import NotFound, Reason
from ragmesh_servicekit.resilience.guard import Guard

DEPENDENCY = "queue"
RETENTION_SECONDS = 7 * 24 * 3600.0
REQUEST_SECONDS = 24 * 3600
COMMAND_SECONDS = 5.0
READ_SECONDS = 2.0
"""Reads may be repeated by the channel, three times in all, and callers wait ten seconds as a rule."""

"""The cap of one call; a write waits for the disk."""

JOBS_PER_SCRIPT = 128
"""A script stops the server while it runs: about 20 us for each job."""

READS_PER_ROUND = 500

_GROUP_MISSING = re.compile("NOGROUP|UNBLOCKED|no such key")
"""What Redis says when there is no group or stream, or when it vanished under a blocked read."""

Result = TypeVar("Result")


class QueueConnection:
    """state: a client for short commands, with decoded replies (`connect`). blocking: one for blocking reads and
    subscriptions (`connect_blocking`). Both are the caller's to close. guard: of that Redis; None makes one without a
    breaker."""

    def __init__(
        self,
        state: Redis,
        blocking: Redis,
        *,
        guard: Guard | None = None,
        retention_seconds: float = RETENTION_SECONDS,
    ) -> None:
        self._state = state
        self._blocking = blocking
        self._guard = guard or Guard("state")
        self._retention_microseconds = int(retention_seconds * 1_000_000)
        self._starter = secrets.token_hex(8)

    async def ping(self) -> None:
        """Return when the queue answers; raises Unavailable."""
        async with bounded(self._guard, DEPENDENCY, COMMAND_SECONDS, probe=True):
            await self._state.ping()

    async def _run(self, script: Script, *arguments: str | int, probe: bool = False) -> Any:
        """One script, once, bounded. probe: see `bounded`."""
        async with bounded(self._guard, DEPENDENCY, COMMAND_SECONDS, probe=probe):
            return await script.run(self._state, keys.PREFIX, *arguments)

    async def _in_group(self, call: Callable[[], Awaitable[Result]]) -> Result:
        """The result of a call that needs the workers' group, which is made when it is missing: at the first start,
        and after Redis lost its data. Its first entry is the oldest: what was queued before it is delivered too."""
        try:
            return await call()
        except ResponseError as error:
            if not _GROUP_MISSING.search(str(error)):
                raise
        try:
            await self._state.xgroup_create(keys.STREAM, keys.GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise
        return await call()

    async def _read(self, job_ids: Sequence[str]) -> list[Job | None]:
        """The jobs of these ids in order; None for one that is not there."""
        jobs: list[Job | None] = []
        for at in range(0, len(job_ids), READS_PER_ROUND):
            part = job_ids[at : at + READS_PER_ROUND]
            async with bounded(self._guard, DEPENDENCY, READ_SECONDS):
                pipeline = self._state.pipeline(transaction=False)
                for job_id in part:
                    pipeline.hgetall(keys.job(job_id))
                records: list[dict[str, str]] = await pipeline.execute()
            jobs += [decoded(job_id, record) if record else None for job_id, record in zip(part, records, strict=True)]
        return jobs

    async def _of_tenant(self, tenant: str, job_ids: Sequence[str]) -> list[Job]:
        """The jobs of these ids; NotFound when one is not there or another tenant's."""
        jobs = []
        for job_id, job in zip(job_ids, await self._read(job_ids), strict=True):
            if job is None or job.tenant != tenant:
                raise absent(job_id)
            jobs.append(job)
        return jobs


def absent(job_id: str) -> NotFound:
    """What is said of a job that is not there, or not the asker's."""
    return NotFound(f"there is no job `{job_id}`", reason=Reason.JOB_NOT_FOUND)
