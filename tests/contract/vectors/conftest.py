"""One embedded Milvus for the whole suite; every test has indexes of its own in it."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from ragmesh_backends.model.collection import IndexRef
from ragmesh_backends.vectors import MilvusVectors
from support.milvus import MilvusProcess


@pytest.fixture(scope="session")
def milvus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusProcess]:
    process = MilvusProcess(tmp_path_factory.mktemp("mv"))
    process.start_and_wait()
    yield process
    process.kill()


@pytest.fixture(params=["milvus-lite"])
def address(request: pytest.FixtureRequest, milvus: MilvusProcess) -> str:
    """Of each store that the suite runs against."""
    return {"milvus-lite": milvus.address}[request.param]


@pytest.fixture
async def vectors(address: str) -> AsyncIterator[MilvusVectors]:
    adapter = MilvusVectors(address)
    yield adapter
    await adapter.close()


_numbers = itertools.count()


@pytest.fixture
def new_ref() -> Callable[[], IndexRef]:
    return lambda: IndexRef("acme", f"test_{next(_numbers)}")
