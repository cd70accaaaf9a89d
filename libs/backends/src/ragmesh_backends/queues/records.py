"""A job as the fields of a Redis hash, and back.

What never changes is one JSON field, so that writing and reading a record costs few fields; the rest are fields of
their own, which scripts read and change.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from ragmesh_backends.model.job import Job, JobStage, JobState, JobSubmission

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def fixed_json(submission: JobSubmission) -> str:
    """What a job is about: set when it is submitted, never changed."""
    return json.dumps(
        {
            "principal": submission.principal,
            "groups": submission.groups,
            "collection_id": submission.collection_id,
            "document_id": submission.document_id,
            "version": submission.version,
            "traceparent": submission.traceparent,
        },
        separators=(",", ":"),
    )


def accepted(submission: JobSubmission, at_microseconds: int) -> Job:
    """The job that a submission has just become."""
    at = moment(at_microseconds)
    return Job(
        job_id=submission.job_id,
        tenant=submission.tenant,
        principal=submission.principal,
        groups=submission.groups,
        collection_id=submission.collection_id,
        document_id=submission.document_id,
        version=submission.version,
        batch_id=submission.batch_id,
        state=JobState.ACCEPTED,
        stage=JobStage.NONE,
        done=0,
        total=0,
        attempt=0,
        failure_reason="",
        failure_message="",
        created_at=at,
        updated_at=at,
        traceparent=submission.traceparent,
    )


def decoded(job_id: str, record: Mapping[str, str]) -> Job:
    """The job of a record; record: the hash's fields, not empty."""
    fixed = json.loads(record["fixed"])
    return Job(
        job_id=job_id,
        tenant=record["tenant"],
        principal=fixed["principal"],
        groups=tuple(fixed["groups"]),
        collection_id=fixed["collection_id"],
        document_id=fixed["document_id"],
        version=fixed["version"],
        batch_id=record["batch"],
        state=JobState(record["state"]),
        stage=JobStage(record["stage"]),
        done=int(record["done"]),
        total=int(record["total"]),
        attempt=int(record["attempt"]),
        failure_reason=record.get("reason", ""),
        failure_message=record.get("message", ""),
        created_at=moment(int(record["created"])),
        updated_at=moment(int(record["updated"])),
        traceparent=fixed["traceparent"],
    )


def moment(microseconds: int) -> datetime:
    """A time that Redis gave, exact to the microsecond."""
    return _EPOCH + timedelta(microseconds=microseconds)
