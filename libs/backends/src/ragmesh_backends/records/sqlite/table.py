"""What the groups of tables share: the database, the clock, and the key of a collection."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import datetime

from ragmesh_backends.model.collection import IndexRef
from ragmesh_backends.records.clock import to_microseconds, wall_clock
from ragmesh_backends.records.refusals import collection_not_found, index_not_found
from ragmesh_backends.sqlite.database import Database


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


def index_key(connection: sqlite3.Connection, index: IndexRef) -> int:
    """The key of the collection that has this index; NotFound when none has it any more."""
    row = connection.execute(
        "SELECT collection_key FROM collections WHERE tenant = ? AND index_name = ? AND deleted_us IS NULL",
        (index.tenant, index.name),
    ).fetchone()
    if row is None:
        raise index_not_found()
    key: int = row[0]
    return key
