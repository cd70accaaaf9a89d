"""What the adapter says while Milvus is down or hung, and that it comes back by itself. Each test has a store of its
own, since it kills it."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from ragmesh_backends.model.collection import IndexRef, IndexSpec
from ragmesh_backends.model.document import DocumentVersion
from ragmesh_backends.model.search import SearchFilter
from ragmesh_backends.vectors import MilvusVectors
from ragmesh_servicekit import deadline
from ragmesh_servicekit.errors import DeadlineExceeded, Unavailable
from support.chunks import DIMENSION, row, unit
from support.milvus import MilvusProcess

INDEX = IndexRef("acme", "kept")
ALL = SearchFilter()
Result = TypeVar("Result")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[MilvusProcess]:
    process = MilvusProcess(tmp_path)
    process.start()
    await process.ready()
    yield process
    process.kill()


@pytest.fixture
async def vectors(store: MilvusProcess) -> AsyncIterator[MilvusVectors]:
    adapter = MilvusVectors(store.address, timeout_seconds=0.5)
    await adapter.create_index(INDEX, IndexSpec("test", DIMENSION))
    yield adapter
    await adapter.close()


async def until_answered(call: Callable[[], Awaitable[Result]], within_seconds: float = 10.0) -> Result:
    end = time.monotonic() + within_seconds
    while True:
        try:
            return await call()
        except Unavailable:
            if time.monotonic() > end:
                raise
            await asyncio.sleep(0.02)


async def test_a_killed_store_keeps_every_row_and_the_adapter_finds_it_again(
    store: MilvusProcess, vectors: MilvusVectors
) -> None:
    rows = [row("doc", f"word{i} common", ordinal=i) for i in range(700)]
    await vectors.insert(INDEX, rows)
    store.kill()
    with pytest.raises(Unavailable) as caught:
        await vectors.bm25(INDEX, "common", 5, where=ALL)
    assert caught.value.metadata == {"dependency": "vectors"}
    store.start()
    assert await until_answered(lambda: vectors.count_version(INDEX, DocumentVersion("doc", 1))) == 700
    [hit] = await vectors.bm25(INDEX, "word699", 5, where=ALL)
    assert hit.chunk == rows[699].chunk
    await vectors.insert(INDEX, [row("new")])
    assert await vectors.count_version(INDEX, DocumentVersion("new", 1)) == 1


async def test_a_store_that_is_down_is_unavailable_at_once(store: MilvusProcess, vectors: MilvusVectors) -> None:
    store.kill()
    start = time.monotonic()
    for call in (
        vectors.ping(),
        vectors.dense(INDEX, unit(1), 5, where=ALL),
        vectors.insert(INDEX, [row()]),
        vectors.delete_versions(INDEX, [DocumentVersion("doc", 1)]),
        vectors.create_index(INDEX, IndexSpec("test", DIMENSION)),
        vectors.drop_index(INDEX),
        vectors.has_index(INDEX),
    ):
        with pytest.raises(Unavailable):
            await call
    assert time.monotonic() - start < 2.0


async def test_a_hung_store_costs_the_cap_or_the_rest_of_the_deadline(
    store: MilvusProcess, vectors: MilvusVectors
) -> None:
    await vectors.insert(INDEX, [row()])
    store.signal(signal.SIGSTOP)
    try:
        with pytest.raises(Unavailable):
            await vectors.dense(INDEX, unit(1), 5, where=ALL)
        start = time.monotonic()
        with deadline.scope(0.1), pytest.raises(DeadlineExceeded):
            await vectors.bm25(INDEX, "words", 5, where=ALL)
        assert time.monotonic() - start < 0.45
    finally:
        store.signal(signal.SIGCONT)
    assert len(await until_answered(lambda: vectors.bm25(INDEX, "words", 5, where=ALL))) == 1


async def test_a_closed_adapter_is_unavailable(vectors: MilvusVectors) -> None:
    await vectors.close()
    await vectors.close()
    with pytest.raises(Unavailable):
        await vectors.ping()


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


async def test_the_store_writes_inside_its_home_only(
    store: MilvusProcess, vectors: MilvusVectors, tmp_path: Path
) -> None:
    await vectors.insert(INDEX, [row()])
    assert {"vectors.db", "milvus.sock"} <= names(tmp_path / "milvus")
    assert not [name for name in names(Path("/tmp")) if name.endswith(f".{store.pid}")]  # as glog names its files
