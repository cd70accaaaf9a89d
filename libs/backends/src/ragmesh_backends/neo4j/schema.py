"""Schema versions: each group of labels on the server counts its own, and moves forward only.

Neo4j makes each constraint in a transaction of its own, which cannot hold data as well, so that no lock covers a
step. Instead each statement bears repetition (`IF NOT EXISTS`; changes of data must bear it too), and the version is
moved after the statements that lead to it: two processes that start at once do the same work twice, and one that is
killed midway is repeated by the next.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from ragmesh_backends.neo4j.transaction import Transaction, rows
from ragmesh_servicekit.errors import FailedPrecondition, Unavailable

if TYPE_CHECKING:
    from ragmesh_backends.neo4j.client import Neo4j

log = structlog.get_logger()

_STEP_SECONDS = 60.0
"""The longest wait for one statement: an index over what is stored already."""

_POLL_SECONDS = 0.1

_BUILDING = "SHOW INDEXES YIELD state WHERE state <> 'ONLINE' RETURN count(*) AS indexes"
_UNIQUE = """
CREATE CONSTRAINT schema_version_component IF NOT EXISTS FOR (v:SchemaVersion) REQUIRE v.component IS UNIQUE
"""
_READ = "MATCH (v:SchemaVersion) RETURN v.component AS component, v.version AS version"
_MOVE = """
MERGE (v:SchemaVersion {component: $component})
SET v.version = CASE WHEN coalesce(v.version, 0) < $version THEN $version ELSE v.version END
"""


@dataclass(frozen=True, slots=True)
class Schema:
    """The labels of one component. steps[n] holds the statements that lead from version n to n + 1; a step that has
    been released is never edited, a change is a new step. Each statement runs in its own transaction."""

    component: str
    steps: tuple[tuple[str, ...], ...]

    @property
    def version(self) -> int:
        return len(self.steps)


async def migrate(client: Neo4j, schemas: Sequence[Schema]) -> None:
    """Bring every component forward to the version that this program knows.

    Raises FailedPrecondition when the server was written to by a newer program, and changes nothing then.
    """
    if not await _behind(client, schemas):
        return
    await _run(client, _UNIQUE)
    for schema, found in await _behind(client, schemas):
        for version, step in enumerate(schema.steps[found:], found + 1):
            for statement in step:
                await _run(client, statement)
            await _run(client, _MOVE, component=schema.component, version=version)
            log.info("neo4j.migrated", component=schema.component, version=version)
    await _built(client)
    await _behind(client, schemas)  # a newer program may have started at the same moment


async def _built(client: Neo4j) -> None:
    """Wait for the indexes. By asking again and again: `db.awaitIndexes` holds a lock on each while it waits, which the
    process that makes one at the same moment needs in order to finish it."""
    give_up_at = time.monotonic() + _STEP_SECONDS
    while (await client.read(lambda transaction: rows(transaction, _BUILDING)))[0]["indexes"]:
        if time.monotonic() > give_up_at:
            raise Unavailable.dependency("records", "the indexes of the records store are still being built")
        await asyncio.sleep(_POLL_SECONDS)


async def _behind(client: Neo4j, schemas: Sequence[Schema]) -> list[tuple[Schema, int]]:
    """The components to be brought forward, with the versions that were found."""

    async def read(transaction: Transaction) -> dict[str, int]:
        return {row["component"]: row["version"] for row in await rows(transaction, _READ)}

    versions = await client.read(read)
    for schema in schemas:
        version = versions.get(schema.component, 0)
        if version > schema.version:
            raise FailedPrecondition(
                f"the {schema.component} store has schema version {version}, written by a newer ragmesh; "
                f"this one knows version {schema.version}: run the newer program or restore a backup"
            )
    found = [(schema, versions.get(schema.component, 0)) for schema in schemas]
    return [(schema, version) for schema, version in found if version < schema.version]


async def _run(client: Neo4j, statement: str, **parameters: Any) -> None:
    await client.write(lambda transaction: rows(transaction, statement, **parameters), cap_seconds=_STEP_SECONDS)
