"""Jobs: what has been promised to a client that was answered 202."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class JobState(StrEnum):
    ACCEPTED = "ACCEPTED"
    RUNNING = "RUNNING"
    READY = "READY"
    DEAD_LETTERED = "DEAD_LETTERED"
    CANCELLED = "CANCELLED"

    @property
    def final(self) -> bool:
        return self in {JobState.READY, JobState.DEAD_LETTERED, JobState.CANCELLED}


class JobStage(StrEnum):
    """Where a running job is."""

    NONE = "NONE"
    PARSING = "PARSING"
    EMBEDDING = "EMBEDDING"
    WRITING = "WRITING"
    ACTIVATING = "ACTIVATING"


@dataclass(frozen=True, slots=True)
class Job:
    """tenant, principal and groups are those of the submitter: the worker acts as them. done and total count
    chunks of the running stage. attempt counts starts, the first is 1."""

    job_id: str
    tenant: str
    principal: str
    groups: tuple[str, ...]
    collection_id: str
    document_id: str
    version: int
    batch_id: str
    state: JobState
    stage: JobStage
    done: int
    total: int
    attempt: int
    failure_reason: str  # a Reason's name, empty when none
    failure_message: str
    created_at: datetime
    updated_at: datetime
    traceparent: str = ""  # W3C trace context of the submit, linked by the worker's span
