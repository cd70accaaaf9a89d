"""What the groups of tables share: the database, the clock, and the way from a row to a record."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from ragmesh_backends.sqlite.database import Database
from ragmesh_servicekit.errors import NotFound, Reason

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


def new_generation() -> str:
    """16 random hexadecimal digits: a counter would revive answers that were cached before a restore."""
    return secrets.token_hex(8)


class Table:
    """One group of tables of one database. clock gives the wall time in UTC; tests set their own."""

    def __init__(self, database: Database, clock: Callable[[], datetime] = wall_clock) -> None:
        self._database = database
        self._clock = clock

    def _now(self) -> int:
        return to_microseconds(self._clock())


def collection_key(connection: sqlite3.Connection, tenant: str, collection_id: str) -> int:
    """The key of a collection that is there; NotFound for an absent one and another tenant's alike."""
    row = connection.execute(
        "SELECT collection_key FROM collections WHERE tenant = ? AND collection_id = ? AND deleted_us IS NULL",
        (tenant, collection_id),
    ).fetchone()
    if row is None:
        raise collection_not_found(collection_id)
    key: int = row[0]
    return key


def collection_not_found(collection_id: str) -> NotFound:
    return NotFound(f"there is no collection `{collection_id}`", reason=Reason.COLLECTION_NOT_FOUND)


def document_not_found(document_id: str) -> NotFound:
    return NotFound(f"there is no document `{document_id}`", reason=Reason.DOCUMENT_NOT_FOUND)
