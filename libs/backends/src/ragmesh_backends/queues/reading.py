"""What owners see of their jobs, and cancelling one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis.exceptions import ResponseError

from ragmesh_backends.model.job import Job, JobPage, JobState, QueueDepth
from ragmesh_backends.queues import keys
from ragmesh_backends.queues.connection import DEPENDENCY, READ_SECONDS, READS_PER_ROUND, absent
from ragmesh_backends.queues.connection import QueueConnection as Connection
from ragmesh_backends.queues.scripts import CANCEL
from ragmesh_backends.redis.client import bounded
from ragmesh_servicekit.errors import FailedPrecondition, InvalidArgument, Reason
from ragmesh_servicekit.telemetry.tracing import span

SCANNED_PER_PAGE = 5_000
"""Jobs looked at for one page: a filter that lets few through gives a short page with a next one."""


class JobReading(Connection):
    async def get(self, tenant: str, job_id: str) -> Job:
        """The job; NotFound (JOB_NOT_FOUND) also for another tenant's."""
        with span("queue.get", db_system_name="redis"):
            (job,) = await self._of_tenant(tenant, [job_id])
            return job

    async def list(
        self,
        tenant: str,
        *,
        collection_id: str = "",
        batch_id: str = "",
        state: JobState | None = None,
        after: str = "",
        limit: int = 50,
    ) -> JobPage:
        """The tenant's jobs, newest first, those that all filters let through. after: `next` of the page before.
        Jobs are kept 7 days after they ended."""
        index = keys.batch_index(tenant, batch_id) if batch_id else keys.tenant_index(tenant)
        filtered = bool(collection_id) or state is not None
        below = _cursor(after)
        found: list[tuple[Job, int]] = []
        scanned = 0
        with span("queue.list", db_system_name="redis"):
            while True:
                count = READS_PER_ROUND if filtered else limit + 1 - len(found)
                rows = await self._indexed(index, below, count)
                for (_, order), job in zip(rows, await self._read([job_id for job_id, _ in rows]), strict=True):
                    if job is not None and _wanted(job, collection_id, state):
                        found.append((job, order))
                scanned += len(rows)
                more = len(rows) == count
                below = f"({rows[-1][1]}" if rows else below
                if not more or len(found) > limit or scanned >= SCANNED_PER_PAGE:
                    break
        if len(found) > limit:
            return JobPage(tuple(job for job, _ in found[:limit]), str(found[limit - 1][1]))
        return JobPage(tuple(job for job, _ in found), below.removeprefix("(") if more else "")

    async def cancel(self, tenant: str, job_id: str) -> Job:
        """The job, CANCELLED when it was waiting; one that runs is asked to stop, and is CANCELLED once its worker
        has. Repeating it is harmless. NotFound (JOB_NOT_FOUND); FailedPrecondition (JOB_FINISHED) when it ended
        otherwise."""
        with span("queue.cancel", db_system_name="redis"):
            outcome = await self._run(CANCEL, job_id, tenant)
            if outcome == "absent":
                raise absent(job_id)
            if outcome == "ended":
                raise FailedPrecondition(f"job `{job_id}` has ended already", reason=Reason.JOB_FINISHED)
            (job,) = await self._of_tenant(tenant, [job_id])
            return job

    async def depth(self) -> QueueDepth:
        """How much is waiting and in hand, of all tenants: two short round trips, however long the queue is."""
        async with bounded(self._guard, DEPENDENCY, READ_SECONDS):
            pipeline = self._state.pipeline(transaction=False)
            pipeline.time()
            pipeline.xlen(keys.STREAM)
            pipeline.xinfo_groups(keys.STREAM)
            pipeline.xpending(keys.STREAM, keys.GROUP)
            clock, length, groups, pending = await pipeline.execute(raise_on_error=False)
            for reply in (clock, length):
                if isinstance(reply, Exception):
                    raise reply
            none_yet = isinstance(groups, ResponseError) or isinstance(pending, ResponseError)
            group = None if none_yet else next((one for one in groups if one["name"] == keys.GROUP), None)
            # What was handed out is a prefix of the stream: a job that is handed back gets a new entry at its end.
            after = "-" if group is None else f"({group['last-delivered-id']}"
            next_one: Any = await self._state.xrange(keys.STREAM, min=after, count=1)
        now = clock[0] + clock[1] / 1e6
        held = 0 if none_yet else pending["pending"]
        return QueueDepth(
            length,
            held,
            _age(now, next_one[0][0]) if next_one else 0.0,
            _age(now, pending["min"]) if held else 0.0,
        )

    async def _indexed(self, index: str, below: str, count: int) -> Sequence[tuple[str, int]]:
        """(job id, order) of the `count` newest below this order."""
        async with bounded(self._guard, DEPENDENCY, READ_SECONDS):
            rows: Any = await self._state.zrevrangebyscore(index, below, "-inf", start=0, num=count, withscores=True)
        return [(job_id, int(order)) for job_id, order in rows]


def _age(now: float, entry_id: str) -> float:
    """Seconds since an entry was made: its id begins with the server's milliseconds."""
    return max(0.0, now - int(entry_id.partition("-")[0]) / 1e3)


def _wanted(job: Job, collection_id: str, state: JobState | None) -> bool:
    return (not collection_id or job.collection_id == collection_id) and (state is None or job.state is state)


def _cursor(after: str) -> str:
    if not after:
        return "+inf"
    if not (after.isascii() and after.isdigit()):
        raise InvalidArgument.field("page_token", "it was not made by this list")
    return f"({after}"
