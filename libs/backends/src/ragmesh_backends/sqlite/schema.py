"""Schema versions: each group of tables in the file counts its own, and moves forward only.

Several adapters share one file (one host, one backup), so the version is kept for each component in a table and
not in PRAGMA user_version. All steps of an opening run in one immediate transaction: two processes that open
an old file at once take turns, and the second finds nothing left to do.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from ragmesh_servicekit.errors import FailedPrecondition

_VERSIONS_TABLE = """
CREATE TABLE IF NOT EXISTS schema_versions (
    component TEXT PRIMARY KEY,
    version INTEGER NOT NULL
) WITHOUT ROWID
"""


@dataclass(frozen=True, slots=True)
class Schema:
    """The tables of one component. steps[n] holds the statements that lead from version n to n + 1; a step that
    has been released is never edited, a change is a new step."""

    component: str
    steps: tuple[tuple[str, ...], ...]

    @property
    def version(self) -> int:
        return len(self.steps)


def migrate(connection: sqlite3.Connection, schemas: Sequence[Schema]) -> None:
    """Bring every component forward to the version that this program knows.

    Raises FailedPrecondition when the file was written by a newer program, and changes nothing then.
    """
    if not _behind(connection, schemas):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(_VERSIONS_TABLE)
        for schema in _behind(connection, schemas):
            for step in schema.steps[_versions(connection).get(schema.component, 0) :]:
                for statement in step:
                    connection.execute(statement)
            connection.execute(
                "INSERT INTO schema_versions (component, version) VALUES (?, ?)"
                " ON CONFLICT (component) DO UPDATE SET version = excluded.version",
                (schema.component, schema.version),
            )
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _behind(connection: sqlite3.Connection, schemas: Sequence[Schema]) -> list[Schema]:
    found = _versions(connection)
    for schema in schemas:
        version = found.get(schema.component, 0)
        if version > schema.version:
            raise FailedPrecondition(
                f"the {schema.component} store has schema version {version}, written by a newer ragmesh; "
                f"this one knows version {schema.version}: run the newer program or restore a backup"
            )
    return [schema for schema in schemas if found.get(schema.component, 0) < schema.version]


def _versions(connection: sqlite3.Connection) -> dict[str, int]:
    exists = connection.execute(
        "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'schema_versions'"
    ).fetchone()
    if exists is None:
        return {}
    return dict(connection.execute("SELECT component, version FROM schema_versions").fetchall())
