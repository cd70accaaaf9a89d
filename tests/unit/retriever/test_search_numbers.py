"""What searches leave in the numbers."""

from __future__ import annotations

import pytest

from ragmesh_backends.caches.memory import MemoryCache
from ragmesh_backends.embeddings.cached import CachedQueries
from ragmesh_retriever.adapters.search_meter import PrometheusMeter
from ragmesh_retriever.domain.results import SearchMode, SearchRequest
from ragmesh_servicekit.errors import Unavailable
from support.moved import Moved
from support.searching import Bench
from support.small_stores import DIMENSION, SmallEmbedder, passage

ROWS = [passage(f"d{i}", f"Title {i}", f"shared text number{i}") for i in range(20)]
REQUEST = SearchRequest("docs", "shared number7 of Title 7")


class Embedder(SmallEmbedder):
    dimension = DIMENSION


async def test_each_step_of_a_search_is_timed_once_and_its_hits_counted() -> None:
    bench, moved = Bench(ROWS, meter=PrometheusMeter()), Moved()
    result = await bench.search(REQUEST)
    for step in {timing.name for timing in result.timings}:
        assert moved.by("ragmesh_search_step_seconds_count", step=step) == 1
    assert {timing.name for timing in result.timings} >= {"embed", "dense", "bm25", "named", "hidden", "links"}
    assert moved.by("ragmesh_search_hits_count", mode="GRAPH") == 1
    assert moved.by("ragmesh_search_hits_sum", mode="GRAPH") == len(result.hits)
    assert sum(moved.by("ragmesh_search_missing_parts_total", part=part) for part in ("DENSE", "BM25", "GRAPH")) == 0


async def test_a_part_that_fails_counts_in_a_search_that_goes_on_without_it() -> None:
    bench, moved = Bench(ROWS, meter=PrometheusMeter()), Moved()
    bench.faults.fail["dense"] = Unavailable.dependency("vectors")
    await bench.search(REQUEST)
    assert moved.by("ragmesh_search_missing_parts_total", part="DENSE") == 1
    assert moved.by("ragmesh_search_step_seconds_count", step="dense") == 1
    assert moved.by("ragmesh_search_hits_count", mode="GRAPH") == 1


async def test_parts_that_fail_count_also_when_nothing_is_left_of_the_search() -> None:
    bench, moved = Bench(ROWS, meter=PrometheusMeter()), Moved()
    bench.faults.fail["dense"] = bench.faults.fail["bm25"] = Unavailable.dependency("vectors")
    with pytest.raises(Unavailable):
        await bench.search(SearchRequest("docs", "shared", mode=SearchMode.HYBRID))
    assert moved.by("ragmesh_search_missing_parts_total", part="DENSE") == 1
    assert moved.by("ragmesh_search_missing_parts_total", part="BM25") == 1
    assert moved.by("ragmesh_search_hits_count", mode="HYBRID") == 0


async def test_a_question_that_was_embedded_before_is_a_hit_of_the_cache() -> None:
    queries, moved = CachedQueries(Embedder(), MemoryCache(60.0)), Moved()
    for text in ("one", "two", "one"):
        await queries.embed_query(text)
    assert moved.by("ragmesh_query_embeddings_total", cache="miss") == 2
    assert moved.by("ragmesh_query_embeddings_total", cache="hit") == 1
