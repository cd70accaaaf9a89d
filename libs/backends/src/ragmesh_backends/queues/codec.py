"""Jobs as Redis holds them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ragmesh_backends.model.job import Job, JobStage, JobState, JobSubmission

Flat = Sequence[str] | Mapping[str, str]


def data_of(submission: JobSubmission) -> str:
    """What never changes of a job, as JSON."""
    return json.dumps(
        {
            "job_id": submission.job_id,
            "tenant": submission.tenant,
            "principal": submission.principal,
            "groups": list(submission.groups),
            "collection_id": submission.collection_id,
            "document_id": submission.document_id,
            "version": submission.version,
            "batch_id": submission.batch_id,
            "traceparent": submission.traceparent,
        },
        ensure_ascii=False,
    )


def job_of(flat: Flat) -> Job | None:
    """The job of a HGETALL reply, as a mapping or as the flat list that a script returns; None for an empty one."""
    fields = flat if isinstance(flat, Mapping) else dict(zip(flat[::2], flat[1::2], strict=True))
    if "data" not in fields:
        return None
    data: dict[str, Any] = json.loads(fields["data"])
    return Job(
        job_id=data["job_id"],
        tenant=data["tenant"],
        principal=data["principal"],
        groups=tuple(data["groups"]),
        collection_id=data["collection_id"],
        document_id=data["document_id"],
        version=data["version"],
        batch_id=data["batch_id"],
        state=JobState(fields["state"]),
        stage=JobStage(fields["stage"]),
        done=int(fields["done"]),
        total=int(fields["total"]),
        attempt=int(fields["attempt"]),
        failure_reason=fields["failure_reason"],
        failure_message=fields["failure_message"],
        created_at=_time(fields["created"]),
        updated_at=_time(fields["updated"]),
        traceparent=data["traceparent"],
    )


def _time(milliseconds: str) -> datetime:
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)
