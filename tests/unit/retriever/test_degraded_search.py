"""Legs that fail or hang are left out and declared; what is wrong with the program is not."""

from __future__ import annotations

import asyncio
import time

import pytest

from ragmesh_retriever.domain.results import Part, SearchMode, SearchRequest
from ragmesh_servicekit import deadline
from ragmesh_servicekit.errors import DeadlineExceeded, Unavailable
from support.searching import Bench, documents_of
from support.small_stores import passage

ROWS = [passage(f"d{i}", f"Title {i}", f"shared text number{i}") for i in range(20)]
REQUEST = SearchRequest("docs", "shared number7 of Title 7")


@pytest.mark.parametrize(
    ("broken", "missing"),
    [
        ("embed", Part.DENSE),
        ("dense", Part.DENSE),
        ("bm25", Part.BM25),
        ("about", Part.GRAPH),
        ("links", Part.GRAPH),
    ],
)
@pytest.mark.parametrize("how", ["fails", "hangs"])
async def test_a_broken_leg_is_left_out_and_declared(broken: str, missing: Part, how: str) -> None:
    bench = Bench(ROWS)
    if how == "fails":
        bench.faults.fail[broken] = Unavailable.dependency("store")
    else:
        bench.faults.hang.add(broken)
    started = time.monotonic()
    with deadline.scope(0.5):
        result = await bench.search(REQUEST)
    assert time.monotonic() - started < 0.5
    assert result.degraded == (missing,)
    assert documents_of(result)[0] == "d7"


async def test_neighbours_that_cannot_be_fetched_are_missed_not_mourned() -> None:
    rows = [passage("hub", "Hub", "opal near Zanzibar"), passage("far", "Zanzibar", "else")]
    rows += [passage(f"n{i:03}", f"Opal {i}", "opal opal") for i in range(140)]
    bench = Bench(rows)
    bench.faults.fail["fetch"] = Unavailable.dependency("vectors")
    result = await bench.search(SearchRequest("docs", "opal near hub"))
    assert result.degraded == (Part.GRAPH,)
    assert documents_of(result)[0] == "hub"


async def test_two_failed_legs_are_both_declared() -> None:
    bench = Bench(ROWS)
    bench.faults.fail |= {name: Unavailable.dependency("store") for name in ("about", "bm25")}
    assert (await bench.search(REQUEST)).degraded == (Part.BM25, Part.GRAPH)


@pytest.mark.parametrize(
    ("mode", "broken"),
    [
        (SearchMode.DENSE, ["dense"]),
        (SearchMode.BM25, ["bm25"]),
        (SearchMode.HYBRID, ["dense", "bm25"]),
        (SearchMode.GRAPH, ["embed", "bm25"]),
    ],
)
async def test_no_leg_left_is_an_error(mode: SearchMode, broken: list[str]) -> None:
    bench = Bench(ROWS)
    bench.faults.fail |= {name: Unavailable.dependency("vectors") for name in broken}
    with pytest.raises(Unavailable):
        await bench.search(SearchRequest("docs", "shared", mode=mode))


async def test_legs_that_a_mode_does_not_use_cannot_degrade_it() -> None:
    bench = Bench(ROWS)
    bench.faults.fail |= {name: Unavailable.dependency("store") for name in ("about", "links", "embed")}
    assert (await bench.search(SearchRequest("docs", "shared", mode=SearchMode.BM25))).degraded == ()


@pytest.mark.parametrize("broken", ["embed", "dense", "bm25", "about", "links"])
async def test_a_programming_error_is_not_taken_for_a_degraded_leg(broken: str) -> None:
    bench = Bench(ROWS)
    bench.faults.fail[broken] = KeyError("a bug")
    with pytest.raises(KeyError, match="a bug"):
        await bench.search(REQUEST)


async def test_everything_hanging_is_said_before_the_deadline_passes() -> None:
    bench = Bench(ROWS)
    bench.faults.hang |= {"dense", "bm25", "about"}
    started = time.monotonic()
    with deadline.scope(0.3), pytest.raises(Unavailable, match="dense"):
        await bench.search(REQUEST)
    assert time.monotonic() - started < 0.3


async def test_a_deadline_that_has_passed_is_called_that() -> None:
    bench = Bench(ROWS)
    bench.faults.hang.add("get_collection")
    with deadline.scope(0.0), pytest.raises(DeadlineExceeded):
        await bench.search(REQUEST)


async def test_a_record_store_that_hangs_at_first_is_unavailable_in_time() -> None:
    bench = Bench(ROWS)
    bench.faults.hang.add("get_collection")
    with deadline.scope(0.3), pytest.raises(Unavailable, match="records"):
        await bench.search(REQUEST)


async def test_a_hung_record_store_does_not_stop_a_known_collection() -> None:
    clock = [0.0]
    bench = Bench(ROWS, clock=lambda: clock[0])
    await bench.search(REQUEST)
    clock[0] = 60.0
    bench.faults.hang.add("get_collection")
    with deadline.scope(0.5):
        assert (await bench.search(REQUEST)).degraded == ()


async def test_a_hung_visibility_leaves_time_to_ask_the_record() -> None:
    bench = Bench(ROWS)
    bench.faults.hang.add("hidden")
    with deadline.scope(0.5):
        result = await bench.search(REQUEST)
    assert result.degraded == ()
    assert bench.faults.calls["hidden_versions"] == 1


async def test_a_search_goes_on_while_the_record_store_is_down() -> None:
    clock = [0.0]
    bench = Bench(ROWS, clock=lambda: clock[0])
    await bench.search(REQUEST)
    clock[0] = 60.0
    bench.faults.fail["get_collection"] = Unavailable.dependency("records")
    assert (await bench.search(REQUEST)).degraded == ()


async def test_a_cancelled_search_leaves_no_task_behind() -> None:
    bench = Bench(ROWS)
    bench.faults.hang |= {"dense", "bm25", "hidden"}
    before = asyncio.all_tasks()
    search = asyncio.create_task(bench.search(REQUEST))
    await bench.faults.hung.wait()
    search.cancel()
    with pytest.raises(asyncio.CancelledError):
        await search
    assert asyncio.all_tasks() == before
