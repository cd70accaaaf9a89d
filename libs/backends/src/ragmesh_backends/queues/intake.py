"""Submitting: a promise is made once, however often it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from ragmesh_backends.model.job import Job, JobSubmission, KnownRequest
from ragmesh_backends.queues import keys
from ragmesh_backends.queues.connection import COMMAND_SECONDS, DEPENDENCY, JOBS_PER_SCRIPT, REQUEST_SECONDS
from ragmesh_backends.queues.connection import QueueConnection as Connection
from ragmesh_backends.queues.records import accepted, fixed_json
from ragmesh_backends.queues.scripts import SUBMIT
from ragmesh_backends.redis.client import bounded
from ragmesh_servicekit.errors import Aborted, Internal, Reason
from ragmesh_servicekit.telemetry import metrics
from ragmesh_servicekit.telemetry.tracing import span


class JobIntake(Connection):
    async def submit(self, submissions: Sequence[JobSubmission]) -> list[Job]:
        """The jobs of these submissions, in order. On return they are durable: record and queue entry are on the disk.

        A job_id that is known already is left as it is and returned. Submissions that share a request_id are one
        step, all or none; within 24 hours the same request_id with the same payload_digest returns the jobs of the
        first time, and with another digest raises Aborted (REQUEST_ID_REUSED). After Unavailable or DeadlineExceeded
        the jobs may or may not be there: submit the same again.
        """
        with span("queue.submit", db_system_name="redis", ragmesh_jobs=len(submissions)):
            jobs: list[Job] = []
            for part in _parts(submissions):
                jobs += await self._submit(part)
            return jobs

    async def _submit(self, part: Sequence[JobSubmission]) -> list[Job]:
        first = part[0]
        request = keys.request(first.tenant, first.request_id) if first.request_id else ""
        arguments: list[str | int] = [self._retention_microseconds, request, REQUEST_SECONDS, first.payload_digest]
        for one in part:
            arguments += [one.job_id, one.tenant, one.batch_id, fixed_json(one)]
        outcome, *reply = await self._run(SUBMIT, *arguments)
        if outcome == "known":
            digest, job_ids = reply
            if digest != first.payload_digest:
                raise Aborted(
                    f"request_id: `{first.request_id}` was used with another payload", reason=Reason.REQUEST_ID_REUSED
                )
            return await self._of_tenant(first.tenant, job_ids.split(" "))
        made = {one.job_id: accepted(one, int(at)) for one, at in zip(part, reply, strict=True) if at}
        metrics.JOB_EVENTS.labels("submitted").inc(len(made))
        there = [one for one in part if one.job_id not in made]
        for one, job in zip(there, await self._read([one.job_id for one in there]), strict=True):
            if job is None or job.tenant != one.tenant:
                raise Internal("a job id is in use by another tenant")
            made[one.job_id] = job
        return [made[one.job_id] for one in part]

    async def find_request(self, tenant: str, request_id: str) -> KnownRequest | None:
        """What this request_id was used for within the last 24 hours; None when it was not."""
        with span("queue.find_request", db_system_name="redis"):
            async with bounded(self._guard, DEPENDENCY, COMMAND_SECONDS):
                known: Any = await self._state.hmget(keys.request(tenant, request_id), "digest", "jobs")
            digest, job_ids = known
            if digest is None or job_ids is None:
                return None
            return KnownRequest(digest, tuple(await self._of_tenant(tenant, job_ids.split(" "))))


def _parts(submissions: Sequence[JobSubmission]) -> Iterator[list[JobSubmission]]:
    """Runs that one script takes: a whole request, or a bounded number of jobs without one."""
    for request, run in groupby(submissions, _request):
        members = list(run)
        size = len(members) if request else JOBS_PER_SCRIPT
        for at in range(0, len(members), size):
            yield members[at : at + size]


def _request(submission: JobSubmission) -> tuple[str, ...]:
    one = submission
    return (one.tenant, one.request_id, one.payload_digest) if one.request_id else ()
