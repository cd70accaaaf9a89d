"""Looks into a Neo4j server of the mesh: versions, constraints and indexes, collections."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ragmesh_backends.model.inspection import ComponentVersion, IndexExpectation, Inspection
from ragmesh_backends.neo4j.client import Neo4j, Transaction, rows
from ragmesh_backends.neo4j.schema import Schema

_VERSIONS = "MATCH (v:SchemaVersion) RETURN v.component AS component, v.version AS version"
_INDEXES = "SHOW INDEXES YIELD name, state WHERE state = 'ONLINE' RETURN name"  # a constraint has one of its name
_COLLECTIONS = """
MATCH (c:RecordCollection) WHERE c.live_key IS NOT NULL
OPTIONAL MATCH (v:RecordVersion {tenant: c.tenant, index_name: c.index_name, state: 'ACTIVE'})
RETURN c.tenant AS tenant, c.collection_id AS collection_id, c.index_name AS name,
       coalesce(sum(v.chunk_count), 0) AS chunks
ORDER BY tenant, collection_id
"""
_NAME = re.compile(r"CREATE\s+(?:CONSTRAINT|(?:\w+\s+)?INDEX)\s+(\w+)\s+IF NOT EXISTS")


async def inspected(client: Neo4j, schemas: Sequence[Schema]) -> Inspection:
    """What is there of these components. Raises as `Neo4j.read`."""
    versions = {row["component"]: row["version"] for row in await _read(client, _VERSIONS)}
    present = [schema for schema in schemas if schema.component in versions]
    online = {row["name"] for row in await _read(client, _INDEXES)}
    return Inspection(
        [ComponentVersion(s.component, versions[s.component], s.version) for s in present],
        [name for schema in present for name in declared(schema) if name not in online],
        [IndexExpectation(**row) for row in await _read(client, _COLLECTIONS)],
    )


def declared(schema: Schema) -> list[str]:
    """Names of the constraints and indexes that the schema makes."""
    return [match[1] for step in schema.steps for statement in step if (match := _NAME.search(statement))]


async def _read(client: Neo4j, cypher: str) -> list[dict[str, Any]]:
    async def work(transaction: Transaction) -> list[dict[str, Any]]:
        return await rows(transaction, cypher)

    return await client.read(work)
