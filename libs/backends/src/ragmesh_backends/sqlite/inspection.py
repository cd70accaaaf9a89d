"""Looks into a SQLite file of the mesh without opening it as a store: nothing is made, migrated or locked for long."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from ragmesh_backends.model.inspection import ComponentVersion, IndexExpectation, Inspection
from ragmesh_backends.sqlite.faults import translate
from ragmesh_backends.sqlite.schema import Schema

BUSY_SECONDS = 2.0


async def inspected_file(path: Path, schemas: Sequence[Schema]) -> Inspection | None:
    """What is in the file, of the components named; None when there is no file. Raises the MeshErrors of the store."""
    if not await asyncio.to_thread(path.exists):
        return None
    versions = await asyncio.to_thread(component_versions, path, schemas)
    return Inspection(versions, [], await asyncio.to_thread(expected_indexes, path))


def component_versions(path: Path, schemas: Sequence[Schema]) -> list[ComponentVersion]:
    """The schema versions in the file, of the components named; absent ones are left out. Raises as `_reading`."""
    with _reading(path) as connection:
        found = dict(connection.execute("SELECT component, version FROM schema_versions").fetchall())
    return [ComponentVersion(s.component, found[s.component], s.version) for s in schemas if s.component in found]


def expected_indexes(path: Path) -> list[IndexExpectation]:
    """The indexes of all collections that are not deleted. Raises as `_reading`."""
    with _reading(path) as connection:
        rows = connection.execute(
            "SELECT c.tenant, c.collection_id, c.index_name, COALESCE(SUM(v.chunk_count), 0) FROM collections c"
            " LEFT JOIN versions v ON v.collection_key = c.collection_key AND v.state = 'ACTIVE'"
            " WHERE c.deleted_us IS NULL GROUP BY c.collection_key ORDER BY c.tenant, c.collection_id"
        ).fetchall()
    return [IndexExpectation(*row) for row in rows]


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
