"""Looks into a Neo4j server of the mesh: versions, constraints and indexes, collections."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ragmesh_backends.model.inspection import ComponentVersion, IndexExpectation, Inspection
from ragmesh_backends.neo4j.client import CALL_SECONDS, Neo4j, Transaction, rows
from ragmesh_backends.neo4j.schema import Schema
from ragmesh_servicekit.errors import Unavailable

_VERSIONS = "MATCH (v:SchemaVersion) RETURN v.component AS component, v.version AS version"
_INDEXES = "SHOW INDEXES YIELD name, state WHERE state = 'ONLINE' RETURN name"  # a constraint has one of its name
_COLLECTIONS = """
MATCH (c:RecordCollection) WHERE c.live_key IS NOT NULL
RETURN c.tenant AS tenant, c.collection_id AS collection_id, c.index_name AS name
ORDER BY tenant, collection_id
"""
_CHUNKS = """
MATCH (v:RecordVersion) WHERE v.state = 'ACTIVE'
RETURN v.tenant AS tenant, v.index_name AS name, sum(v.chunk_count) AS chunks
"""
"""One pass over all versions: no index leads from a collection to its own."""

_NAME = re.compile(r"CREATE\s+(?:CONSTRAINT|(?:\w+\s+)?INDEX)\s+(\w+)\s+IF NOT EXISTS")


async def inspected(client: Neo4j, schemas: Sequence[Schema], count_seconds: float = 0.0) -> Inspection:
    """What is there of these components. count_seconds: as of `records.inspection.inspect`. Raises as `Neo4j.read`."""
    versions = {row["component"]: row["version"] for row in await _read(client, _VERSIONS)}
    present = [schema for schema in schemas if schema.component in versions]
    online = {row["name"] for row in await _read(client, _INDEXES)}
    collections = await _read(client, _COLLECTIONS)
    chunks = await _chunks(client, count_seconds) if count_seconds else None
    return Inspection(
        [ComponentVersion(s.component, versions[s.component], s.version) for s in present],
        [name for schema in present for name in declared(schema) if name not in online],
        [
            IndexExpectation(**row, chunks=None if chunks is None else chunks.get((row["tenant"], row["name"]), 0))
            for row in collections
        ],
    )


def declared(schema: Schema) -> list[str]:
    """Names of the constraints and indexes that the schema makes."""
    return [match[1] for step in schema.steps for statement in step if (match := _NAME.search(statement))]


async def _chunks(client: Neo4j, seconds: float) -> dict[tuple[str, str], int] | None:
    """By tenant and index; None when it takes longer. A server that is gone is told by the call that comes next."""
    try:
        found = await _read(client, _CHUNKS, seconds)
    except Unavailable:
        return None
    return {(row["tenant"], row["name"]): row["chunks"] for row in found}


async def _read(client: Neo4j, cypher: str, seconds: float = CALL_SECONDS) -> list[dict[str, Any]]:
    async def work(transaction: Transaction) -> list[dict[str, Any]]:
        return await rows(transaction, cypher)

    return await client.read(work, cap_seconds=seconds)
