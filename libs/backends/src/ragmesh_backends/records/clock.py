"""Times as both record stores keep them, and how long a silent worker is waited for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

ABANDONED_SECONDS = 3_600.0
"""A version that was deleted while its worker still wrote is swept when the worker reports, or after this time."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def wall_clock() -> datetime:
    """Now, in UTC."""
    return datetime.now(UTC)


def to_microseconds(at: datetime) -> int:
    """An aware time as microseconds since 1970 UTC, exact."""
    return (at - _EPOCH) // _MICROSECOND


def from_microseconds(microseconds: int) -> datetime:
    """The inverse of `to_microseconds`; the time is UTC."""
    return _EPOCH + microseconds * _MICROSECOND
