"""Following jobs: a subscription says that something changed, a read says what it is now.

The subscription begins before the first read, so that no change falls between the two. Messages can be lost with a
connection; a read at an interval makes up for that.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, Protocol

from redis.asyncio import Redis

from ragmesh_backends.model.job import Job
from ragmesh_backends.redis.calls import calling
from ragmesh_servicekit.errors import NotFound, Reason

GATHER_SECONDS = 0.1
"""Changes are gathered for so long, so that a burst costs one read."""

RECHECK_SECONDS = 5.0
FINAL = {"READY", "DEAD_LETTERED", "CANCELLED"}


class JobReader(Protocol):
    async def jobs_of_batch(self, tenant: str, batch_id: str) -> list[str]: ...
    async def read_many(self, tenant: str, job_ids: Iterable[str]) -> Mapping[str, Job]: ...


async def watch_jobs(
    reader: JobReader,
    client: Redis,
    prefix: str,
    tenant: str,
    batch_id: str,
    job_ids: Sequence[str],
    final_only: bool,
) -> AsyncIterator[Job]:
    """See RedisJobs.watch."""
    subscription: Any = client.pubsub(ignore_subscribe_messages=True)
    try:
        async with calling("queue", "subscribe"):
            await subscription.subscribe(f"{prefix}:changed:{tenant}")
        ids = await reader.jobs_of_batch(tenant, batch_id) if batch_id else list(job_ids)
        jobs = dict(await reader.read_many(tenant, ids))
        missing = [job_id for job_id in ids if job_id not in jobs]
        if not jobs or (missing and not batch_id):
            named = f"job `{missing[0]}`" if missing else f"batch `{batch_id}`"
            raise NotFound(f"there is no {named}", reason=Reason.JOB_NOT_FOUND)
        for job in jobs.values():
            if job.state.final or not final_only:
                yield job
        while True:
            open_ids = {job_id for job_id, job in jobs.items() if not job.state.final}
            if not open_ids and batch_id:
                open_ids = set(await reader.jobs_of_batch(tenant, batch_id)) - jobs.keys()
            if not open_ids:
                return
            changed = await _changes(subscription, open_ids, batch_id, final_only)
            for job_id, job in (await reader.read_many(tenant, changed or open_ids)).items():
                if job != jobs.get(job_id):
                    jobs[job_id] = job
                    if job.state.final or not final_only:
                        yield job
    finally:
        await subscription.aclose()


async def _changes(subscription: Any, open_ids: set[str], batch_id: str, final_only: bool) -> set[str]:
    """Ids that changed, gathered for a moment after the first; empty when nothing was said for a while."""
    changed: set[str] = set()
    loop = asyncio.get_running_loop()
    end = loop.time() + RECHECK_SECONDS
    while (left := end - loop.time()) > 0:
        async with calling("queue", "watch", RECHECK_SECONDS + 5):
            message = await subscription.get_message(timeout=left)
        if message is None:
            continue
        job_id, state, batch = message["data"].split(" ", 2)
        if (job_id in open_ids or (batch_id and batch == batch_id)) and (state in FINAL or not final_only):
            if not changed:
                end = min(end, loop.time() + GATHER_SECONDS)
            changed.add(job_id)
    return changed
