"""A real Neo4j server, which this repository does not install: RAGMESH_TEST_NEO4J_URI (and _USER, _PASSWORD) tell where
one is. It may be shared: a test uses tenants of its own and forgets them at its end. `make test-neo4j` needs it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from ragmesh_backends.neo4j.client import Neo4j, Transaction, rows
from ragmesh_backends.neo4j.schema import Schema

URI = os.environ.get("RAGMESH_TEST_NEO4J_URI", "")
USER = os.environ.get("RAGMESH_TEST_NEO4J_USER", "neo4j")
PASSWORD = os.environ.get("RAGMESH_TEST_NEO4J_PASSWORD", "")

needed = pytest.mark.neo4j
"""The mark of a test, or of a parameter, that needs the server; it opens it with `opened` or calls `require` first."""

_BATCH = 10_000


def require() -> None:
    """Skip the test, with the reason, when there is no server."""
    if not URI:
        pytest.skip("needs a Neo4j server: set RAGMESH_TEST_NEO4J_URI, _USER and _PASSWORD, or run make test-neo4j")


@asynccontextmanager
async def opened(*schemas: Schema) -> AsyncIterator[Neo4j]:
    """A client of the server, with the constraints and indexes of these components; skips the test without a server."""
    require()
    async with await Neo4j.connect(URI, USER, PASSWORD, schemas).awaited() as client:
        yield client


async def forget_tenants(*tenants: str) -> None:
    """Delete every node of these tenants, whatever its labels. Does nothing after a test that was skipped."""
    if not URI:
        return

    async def delete(transaction: Transaction) -> int:
        cypher = "MATCH (n) WHERE n.tenant IN $tenants WITH n LIMIT $limit DETACH DELETE n RETURN count(*) AS deleted"
        [row] = await rows(transaction, cypher, tenants=tenants, limit=_BATCH)
        deleted: int = row["deleted"]
        return deleted

    async with opened() as client:
        while await client.write(delete, cap_seconds=60) == _BATCH:
            pass
