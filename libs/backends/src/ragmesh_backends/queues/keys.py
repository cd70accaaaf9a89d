"""The names of everything that the queue keeps in Redis.

All carry the hash tag `{jobs}`, so that they share one slot of a cluster and one script may change them together.
Names that hold a text of a caller's are unambiguous: each but the last is preceded by its length.
"""

from __future__ import annotations

PREFIX = "ragmesh:{jobs}:"
STREAM = PREFIX + "work"
"""One entry for each job that has not ended."""

GROUP = "workers"
JOB = PREFIX + "job:"
ENDED = PREFIX + "ended"
"""Job ids by the time of their end, from which records that are old enough are removed."""

SEQUENCE = PREFIX + "sequence"
"""Counts jobs; their order in the indexes."""


def job(job_id: str) -> str:
    """The record of a job, a hash."""
    return JOB + job_id


def tenant_index(tenant: str) -> str:
    """Job ids of a tenant by sequence."""
    return f"{PREFIX}of:{tenant}"


def batch_index(tenant: str, batch_id: str) -> str:
    """Job ids of a batch by sequence."""
    return f"{PREFIX}batch:{len(tenant)}:{tenant}:{batch_id}"


def request(tenant: str, request_id: str) -> str:
    """What a request id was used for, a hash of digest and job ids."""
    return f"{PREFIX}request:{len(tenant)}:{tenant}:{request_id}"


def job_channel(job_id: str) -> str:
    """Where a job's changes are announced: the message is its id."""
    return f"{PREFIX}changes:job:{job_id}"


def batch_channel(tenant: str, batch_id: str) -> str:
    """Where the changes of a batch's jobs are announced."""
    return f"{PREFIX}changes:batch:{len(tenant)}:{tenant}:{batch_id}"
