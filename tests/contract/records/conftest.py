from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support import neo4j
from support.record_store import COLLECTION, Clock, Records, emptied, opened


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", pytest.param("neo4j", marks=neo4j.needed)])
def adapter(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name == "neo4j":
        neo4j.require()
    return name


@pytest.fixture
async def records(adapter: str, tmp_path: Path, clock: Clock) -> AsyncIterator[Records]:
    async with emptied(adapter), opened(adapter, tmp_path / "mesh.db", clock) as store:
        yield store


@pytest.fixture
async def docs(records: Records) -> Records:
    await records.create_collection(COLLECTION)
    return records
