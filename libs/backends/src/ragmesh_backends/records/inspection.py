"""Looks into the record store without opening it as one: nothing is made or migrated."""

from __future__ import annotations

from ragmesh_backends.model.inspection import Inspection
from ragmesh_backends.store_settings import RecordsSettings

WAIT_SECONDS = 3.0
"""For a server that does not answer yet."""


async def inspect(settings: RecordsSettings, *, count_seconds: float = 0.0) -> Inspection | None:
    """What is there; None for a file that does not exist yet. count_seconds: how long counting the chunks of the
    collections may take, for which every version is read; 0: they are not counted. Raises the MeshErrors of the
    store."""
    if settings.is_neo4j():
        from ragmesh_backends.graphs.neo4j import NEO4J_GRAPH_SCHEMA
        from ragmesh_backends.neo4j.client import Neo4j
        from ragmesh_backends.neo4j.inspection import inspected
        from ragmesh_backends.records.neo4j.schema import NEO4J_KEYS_SCHEMA, NEO4J_RECORDS_SCHEMA

        user = settings.user if settings.password else ""
        database = settings.database or None
        client = Neo4j.connect(settings.url, user, settings.password, [], database=database)
        async with await client.awaited(WAIT_SECONDS):
            return await inspected(client, [NEO4J_RECORDS_SCHEMA, NEO4J_KEYS_SCHEMA, NEO4J_GRAPH_SCHEMA], count_seconds)
    from ragmesh_backends.graphs.sqlite import GRAPH_SCHEMA
    from ragmesh_backends.records.keys import KEYS_SCHEMA
    from ragmesh_backends.records.sqlite import RECORDS_SCHEMA
    from ragmesh_backends.sqlite.inspection import inspected_file

    return await inspected_file(settings.sqlite_path(), [RECORDS_SCHEMA, KEYS_SCHEMA, GRAPH_SCHEMA], count_seconds)
