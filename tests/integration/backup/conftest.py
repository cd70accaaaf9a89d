"""Meshes to back up and to restore into: SQLite or Neo4j, the embedded Milvus, a folder of blobs."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from support import neo4j
from support.milvus import MilvusProcess
from support.stored_mesh import StoredMesh, stored_mesh


@pytest.fixture(scope="module")
def milvus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    process = MilvusProcess(tmp_path_factory.mktemp("mv"))
    process.start_and_wait()
    yield process.address
    process.kill()


@pytest.fixture
def tenant() -> str:
    return f"acme-{secrets.token_hex(4)}"


@pytest.fixture
async def mesh(tmp_path: Path, milvus: str, tenant: str) -> AsyncIterator[StoredMesh]:
    async with stored_mesh(tmp_path / "from", milvus, tenant, {}) as made:
        yield made


@pytest.fixture(params=["sqlite", pytest.param("neo4j", marks=neo4j.needed)])
async def other(request: pytest.FixtureRequest, tmp_path: Path, milvus: str, tenant: str) -> AsyncIterator[StoredMesh]:
    """An empty mesh to restore into, on another kind of record store too."""
    records = {}
    if request.param == "neo4j":
        neo4j.require()
        records = {
            "RAGMESH_RECORDS_URL": neo4j.URI,
            "RAGMESH_RECORDS_USER": neo4j.USER,
            "RAGMESH_RECORDS_PASSWORD": neo4j.PASSWORD,
        }
    async with stored_mesh(tmp_path / "to", milvus, tenant, records) as made:
        yield made
    if request.param == "neo4j":
        await neo4j.forget_tenants(tenant)
