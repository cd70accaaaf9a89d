"""Looks into a SQLite file of the mesh without opening it as a store: nothing is made, migrated or locked for long."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from ragmesh_backends.model.inspection import ComponentVersion, IndexExpectation, Inspection
from ragmesh_backends.sqlite.faults import primary_code, translate
from ragmesh_backends.sqlite.schema import Schema

BUSY_SECONDS = 2.0
_STEPS = 10_000  # of SQLite's machine, between two looks at the clock: some tenths of a millisecond


async def inspected_file(path: Path, schemas: Sequence[Schema], count_seconds: float = 0.0) -> Inspection | None:
    """What is in the file, of the components named; None when there is no file. count_seconds: as of
    `records.inspection.inspect`. Raises the MeshErrors of the store."""
    if not await asyncio.to_thread(path.exists):
        return None
    versions = await asyncio.to_thread(component_versions, path, schemas)
    return Inspection(versions, [], await asyncio.to_thread(expected_indexes, path, count_seconds))


def component_versions(path: Path, schemas: Sequence[Schema]) -> list[ComponentVersion]:
    """The schema versions in the file, of the components named; absent ones are left out. Raises as `_reading`."""
    with _reading(path) as connection:
        found = dict(connection.execute("SELECT component, version FROM schema_versions").fetchall())
    return [ComponentVersion(s.component, found[s.component], s.version) for s in schemas if s.component in found]


def expected_indexes(path: Path, count_seconds: float) -> list[IndexExpectation]:
    """The indexes of all collections that are not deleted. Raises as `_reading`."""
    with _reading(path) as connection:
        rows = connection.execute(
            "SELECT collection_key, tenant, collection_id, index_name FROM collections"
            " WHERE deleted_us IS NULL ORDER BY tenant, collection_id"
        ).fetchall()
        chunks = _chunks(connection, count_seconds) if count_seconds else None
    return [
        IndexExpectation(tenant, collection_id, name, None if chunks is None else chunks.get(key, 0))
        for key, tenant, collection_id, name in rows
    ]


def _chunks(connection: sqlite3.Connection, seconds: float) -> dict[int, int] | None:
    """By collection_key; None when it takes longer: a thread cannot be stopped from without."""
    give_up_at = time.monotonic() + seconds
    connection.set_progress_handler(lambda: time.monotonic() > give_up_at, _STEPS)
    try:
        return dict(
            connection.execute(
                "SELECT collection_key, SUM(chunk_count) FROM versions WHERE state = 'ACTIVE' GROUP BY collection_key"
            ).fetchall()
        )
    except sqlite3.OperationalError as error:
        if primary_code(error) == sqlite3.SQLITE_INTERRUPT:
            return None
        raise


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that cannot write. Without a -wal file beside it nobody has the file open, and it is read as it is:
    SQLite would make that file otherwise. Raises the MeshErrors of the store."""
    mode = "mode=ro" if path.with_name(f"{path.name}-wal").exists() else "mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?{mode}", uri=True, timeout=BUSY_SECONDS)) as connection:
            yield connection
    except sqlite3.Error as error:
        raise translate(error, "records") from error
