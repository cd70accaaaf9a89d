"""Which record store a process uses: the one place that chooses, by the scheme of RAGMESH_RECORDS_URL.

Each store's modules are imported only where it is used: Neo4j's driver takes 20 MB and a third of a second.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ragmesh_backends.store_settings import RecordsSettings
from ragmesh_servicekit.resilience.guard import Guard

if TYPE_CHECKING:
    from ragmesh_backends.graphs.neo4j import Neo4jGraph
    from ragmesh_backends.graphs.sqlite import SqliteGraph
    from ragmesh_backends.neo4j.client import Neo4j
    from ragmesh_backends.neo4j.schema import Schema
    from ragmesh_backends.records.keys import SqliteKeys
    from ragmesh_backends.records.neo4j import Neo4jKeys, Neo4jRecords
    from ragmesh_backends.records.neo4j.copies import Neo4jCopies
    from ragmesh_backends.records.sqlite import SqliteRecords
    from ragmesh_backends.records.sqlite.copies import SqliteCopies


@dataclass(frozen=True, slots=True)
class _Opened:
    """ping raises Unavailable unless the store answers; close lets go of its connections. look: one attempt to make the
    schema, for a store that was not awaited; see `Neo4j.look`. A file has been opened with all of that."""

    ping: Callable[[], Awaitable[None]]
    close: Callable[[], Awaitable[None]]
    look: Callable[[], Awaitable[None]]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


@dataclass(frozen=True, slots=True)
class RecordStore(_Opened):
    """Records and graph, which share one database."""

    records: SqliteRecords | Neo4jRecords
    graph: SqliteGraph | Neo4jGraph


@dataclass(frozen=True, slots=True)
class OpenedKeys(_Opened):
    """The gateway's keys."""

    keys: SqliteKeys | Neo4jKeys


@dataclass(frozen=True, slots=True)
class OpenedCopies(RecordStore):
    """What backups are made of and restored to: the keys too, which otherwise are the gateway's alone."""

    copies: SqliteCopies | Neo4jCopies
    keys: SqliteKeys | Neo4jKeys


async def open_records(settings: RecordsSettings, guards: Sequence[Guard] = (), *, awaited: bool = True) -> RecordStore:
    """Open the store and bring its schema forward. guards: of the roles `records` and `graph`. awaited: False leaves a
    server unasked, for a process that starts without it; the caller has `look` done, and holds the guards until then.

    Raises FailedPrecondition when a newer program wrote it or it refuses the password; Unavailable when it cannot be
    reached."""
    if settings.is_neo4j():
        from ragmesh_backends.graphs.neo4j import NEO4J_GRAPH_SCHEMA, Neo4jGraph
        from ragmesh_backends.records.neo4j import Neo4jRecords
        from ragmesh_backends.records.neo4j.schema import NEO4J_RECORDS_SCHEMA

        client = await _neo4j(settings, [NEO4J_RECORDS_SCHEMA, NEO4J_GRAPH_SCHEMA], guards, awaited)
        return RecordStore(client.ping, client.close, client.look, Neo4jRecords(client), Neo4jGraph(client))
    from ragmesh_backends.graphs.sqlite import GRAPH_SCHEMA, SqliteGraph
    from ragmesh_backends.records.sqlite import RECORDS_SCHEMA, SqliteRecords
    from ragmesh_backends.sqlite.database import Database

    database = await Database.open(settings.sqlite_path(), [RECORDS_SCHEMA, GRAPH_SCHEMA])
    return RecordStore(database.ping, database.close, _done, SqliteRecords(database), SqliteGraph(database))


async def open_keys(settings: RecordsSettings, guards: Sequence[Guard] = (), *, awaited: bool = True) -> OpenedKeys:
    """As `open_records`, for the keys only."""
    if settings.is_neo4j():
        from ragmesh_backends.records.neo4j import Neo4jKeys
        from ragmesh_backends.records.neo4j.schema import NEO4J_KEYS_SCHEMA

        client = await _neo4j(settings, [NEO4J_KEYS_SCHEMA], guards, awaited)
        return OpenedKeys(client.ping, client.close, client.look, Neo4jKeys(client))
    from ragmesh_backends.records.keys import KEYS_SCHEMA, SqliteKeys
    from ragmesh_backends.sqlite.database import Database

    database = await Database.open(settings.sqlite_path(), [KEYS_SCHEMA])
    return OpenedKeys(database.ping, database.close, _done, SqliteKeys(database))


async def open_copies(settings: RecordsSettings, guards: Sequence[Guard] = ()) -> OpenedCopies:
    """As `open_records`, for backups."""
    if settings.is_neo4j():
        from ragmesh_backends.graphs.neo4j import NEO4J_GRAPH_SCHEMA, Neo4jGraph
        from ragmesh_backends.records.neo4j import Neo4jKeys, Neo4jRecords
        from ragmesh_backends.records.neo4j.copies import Neo4jCopies
        from ragmesh_backends.records.neo4j.schema import NEO4J_KEYS_SCHEMA, NEO4J_RECORDS_SCHEMA

        client = await _neo4j(settings, [NEO4J_RECORDS_SCHEMA, NEO4J_GRAPH_SCHEMA, NEO4J_KEYS_SCHEMA], guards, True)
        records, graph = Neo4jRecords(client), Neo4jGraph(client)
        return OpenedCopies(
            client.ping, client.close, client.look, records, graph, Neo4jCopies(client), Neo4jKeys(client)
        )
    from ragmesh_backends.graphs.sqlite import GRAPH_SCHEMA, SqliteGraph
    from ragmesh_backends.records.keys import KEYS_SCHEMA, SqliteKeys
    from ragmesh_backends.records.sqlite import RECORDS_SCHEMA, SqliteRecords
    from ragmesh_backends.records.sqlite.copies import SqliteCopies
    from ragmesh_backends.sqlite.database import Database

    database = await Database.open(settings.sqlite_path(), [RECORDS_SCHEMA, GRAPH_SCHEMA, KEYS_SCHEMA])
    return OpenedCopies(
        database.ping,
        database.close,
        _done,
        SqliteRecords(database),
        SqliteGraph(database),
        SqliteCopies(database),
        SqliteKeys(database),
    )


async def _neo4j(settings: RecordsSettings, schemas: Sequence[Schema], guards: Sequence[Guard], awaited: bool) -> Neo4j:
    from ragmesh_backends.neo4j.client import Neo4j

    user, database = settings.user if settings.password else "", settings.database or None
    client = Neo4j.connect(settings.url, user, settings.password, schemas, database=database, guards=guards)
    return await client.awaited() if awaited else client


async def _done() -> None:
    """Nothing is left to do."""
