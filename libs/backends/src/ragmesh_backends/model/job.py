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


@dataclass(frozen=True, slots=True)
class JobSubmission:
    """A promise about to be made. request_id ("": none) and payload_digest make it safe to repeat: the same pair gets
    the same jobs, another digest under a known request_id is refused."""

    job_id: str
    tenant: str
    principal: str
    groups: tuple[str, ...]
    collection_id: str
    document_id: str
    version: int
    batch_id: str = ""
    request_id: str = ""
    payload_digest: str = ""
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class KnownRequest:
    """What a request_id was used for: the digest of its payload, and the jobs that it was answered with, in order."""

    payload_digest: str
    jobs: tuple[Job, ...]


@dataclass(frozen=True, slots=True)
class Delivery:
    """A job in a worker's hands. entry_id: of the queue's entry that is acknowledged when the job ends."""

    entry_id: str
    job: Job


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a delivered job ended: state is a final one; reason and message say why it failed."""

    delivery: Delivery
    state: JobState
    failure_reason: str = ""
    failure_message: str = ""


@dataclass(frozen=True, slots=True)
class JobPage:
    """Jobs, newest first. next: where the following page begins, "" on the last one. A page may hold fewer jobs than
    were asked for and still have a next one, when a filter left many out."""

    jobs: tuple[Job, ...]
    next: str


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """length: jobs that have not ended; pending: those of them in a worker's hands. oldest_waiting_seconds: since the
    oldest of the others was queued, or handed back; oldest_pending_seconds: since the oldest of those in a worker's
    hands was; 0 when there is none."""

    length: int
    pending: int
    oldest_waiting_seconds: float
    oldest_pending_seconds: float

    @property
    def oldest_age_seconds(self) -> float:
        """Of all jobs that have not ended."""
        return max(self.oldest_waiting_seconds, self.oldest_pending_seconds)

    @property
    def waiting(self) -> int:
        """Jobs that no worker has."""
        return max(0, self.length - self.pending)
