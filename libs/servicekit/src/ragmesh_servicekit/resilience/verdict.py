"""What the end of a call says of the dependency: only that decides whether its breaker opens."""

from __future__ import annotations

from enum import StrEnum

from ragmesh_servicekit.errors import DeadlineExceeded, MeshError, Reason, Unavailable

_OF_OURS = {Reason.OVERLOADED, Reason.DRAINING}
"""Unavailable, but because of this process: its pools are full, or it is closing."""

_TO_BE_MENDED = {
    "bad_request",
    "authentication",
    "permission",
    "not_found",
    "key",
    "bucket",
    "region",
    "disk",
    "no_writes",
}
"""metadata.cause of dependencies that answer and refuse, until an operator mends a setting or a disk. Nothing is
spared by not asking them, what they still can do (reading, when the disk is full) should go on, and their words tell
more than a breaker's."""


class Verdict(StrEnum):
    """OK and FAILED count, the others are neutral. The values are the label `outcome` of the metric."""

    OK = "ok"
    FAILED = "failed"
    REFUSED = "refused"
    """It answered, and said no to this call."""
    DEADLINE = "deadline"
    """The request's own time ended, earlier than the dependency could be called slow."""
    CANCELLED = "cancelled"
    STALLED = "stalled"
    """This process stood still meanwhile (stopped, swapping): nobody can tell whether the answer was late."""


def of_error(error: BaseException, *, slow: bool) -> Verdict:
    """slow: whether the call took long by the measure of its own cap, however much time its request had."""
    if isinstance(error, Unavailable):
        cause = error.metadata.get("cause", "")
        if error.reason in _OF_OURS or cause in _TO_BE_MENDED or cause.startswith("status_4"):
            return Verdict.REFUSED
        return Verdict.FAILED
    if isinstance(error, DeadlineExceeded):
        return Verdict.FAILED if slow else Verdict.DEADLINE
    if isinstance(error, MeshError):
        return Verdict.REFUSED
    # Cancelled, a generator that is closed, or a fault of ours: none of them is the dependency's.
    return Verdict.CANCELLED
