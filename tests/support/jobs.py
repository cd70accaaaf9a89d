"""Submissions for tests of the queue."""

from __future__ import annotations

import itertools
from typing import Any

from ragmesh_backends.model.job import JobSubmission

_numbers = itertools.count(1)


def submission(**fields: Any) -> JobSubmission:
    """A submission with an id of its own."""
    number = next(_numbers)
    given: dict[str, Any] = {
        "job_id": f"job{number:06d}",
        "tenant": "acme",
        "principal": "key-1",
        "groups": ("staff",),
        "collection_id": "docs",
        "document_id": f"doc-{number}",
        "version": 1,
    }
    return JobSubmission(**{**given, **fields})


def submissions(count: int, **fields: Any) -> list[JobSubmission]:
    return [submission(**fields) for _ in range(count)]
