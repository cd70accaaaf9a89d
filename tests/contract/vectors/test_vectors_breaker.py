"""The breaker of a real Milvus that dies and comes back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ragmesh_backends.model.collection import IndexRef, IndexSpec
from ragmesh_backends.model.search import SearchFilter
from ragmesh_backends.vectors import MilvusVectors
from ragmesh_servicekit.errors import Unavailable
from ragmesh_servicekit.health import Check, Health
from ragmesh_servicekit.resilience.breaker import AsyncBreaker, CallRefused
from ragmesh_servicekit.resilience.guard import Guard
from support.chunks import DIMENSION, row
from support.milvus import MilvusProcess

INDEX = IndexRef("acme", "breaker")
ALL = SearchFilter()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[MilvusProcess]:
    process = MilvusProcess(tmp_path)
    process.start()
    await process.ready()
    yield process
    process.kill()


async def test_a_killed_store_opens_its_breaker_and_is_served_again_within_ten_seconds_of_its_return(
    store: MilvusProcess,
) -> None:
    breaker = AsyncBreaker("vectors", "test")  # open for 30 s, by its defaults
    vectors = MilvusVectors(store.address, guard=Guard("vectors", "test", breaker=breaker))
    await vectors.create_index(INDEX, IndexSpec("test", DIMENSION))
    await vectors.insert(INDEX, [row("doc")])
    health = Health("retriever", (Check("vectors", vectors.ping),))
    watch = asyncio.create_task(health.watch())
    try:
        store.kill()
        for _ in range(5):
            with pytest.raises(Unavailable):
                await vectors.has_index(INDEX)
        assert breaker.state == "open"
        with pytest.raises(CallRefused) as caught:
            await vectors.has_index(INDEX)
        assert caught.value.retry_after_seconds is not None
        assert 25.0 < caught.value.retry_after_seconds <= 33.0
        store.start()
        await store.ready()
        back = time.monotonic()
        while breaker.state != "closed":
            assert time.monotonic() - back < 10.0
            try:
                await vectors.bm25(INDEX, "words", 5, where=ALL)
            except Unavailable:
                await asyncio.sleep(0.05)
        assert len(await vectors.bm25(INDEX, "words", 5, where=ALL)) == 1
    finally:
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
        await vectors.close()
