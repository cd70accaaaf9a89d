"""The use case over small stores: modes, visibility, access, explanations."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ragmesh_backends.model.document import DocumentVersion
from ragmesh_backends.model.search import SearchFilter
from ragmesh_retriever.domain.results import Factor, Part, SearchMode, SearchRequest
from ragmesh_retriever.domain.search import LEG_LIMIT
from ragmesh_servicekit.errors import FailedPrecondition, NotFound, Unavailable
from support.searching import Bench, documents_of
from support.small_stores import collection, passage

PLACES = [
    passage("song", "Hello Love", "Hello Love is a song performed by Hank Snow"),
    passage("singer", "Hank Snow", "A musician who died in Tennessee"),
    passage("state", "Tennessee", "Tennessee borders eight others"),
    *(passage(f"other{i}", f"Album {i}", f"An album number {i} about nothing much") for i in range(30)),
]
QUESTION = "Where did the performer of Hello Love die?"


@pytest.mark.parametrize("mode", list(SearchMode))
async def test_every_mode_ranks_and_scores_fall(mode: SearchMode) -> None:
    result = await Bench(PLACES).search(SearchRequest("docs", QUESTION, top_k=5, mode=mode))
    assert documents_of(result)[0] == "song"
    scores = [hit.score for hit in result.hits]
    assert scores == sorted(scores, reverse=True)
    assert result.degraded == ()


async def test_links_bring_what_neither_words_nor_meaning_find() -> None:
    bench = Bench(PLACES)
    graph = await bench.search(SearchRequest("docs", QUESTION, top_k=3, explain=True))
    assert documents_of(graph)[:2] == ["song", "singer"]
    reasons = {reason.factor: reason for reason in graph.hits[1].reasons}
    assert reasons[Factor.LINKED_FROM].detail == "song:1:0"
    assert graph.hits[1].scores.graph == pytest.approx(reasons[Factor.LINKED_FROM].value)
    assert any(reason.factor is Factor.NAMED_BY_QUESTION for reason in graph.hits[0].reasons)


async def test_a_linked_passage_outside_both_legs_is_fetched_and_scored() -> None:
    rows = [passage("hub", "Hub", "quartz vein near Zanzibar"), passage("far", "Zanzibar", "unrelated prose")]
    for i in range(2 * LEG_LIMIT):
        filler = " ".join(f"word{i}x{n}" for n in range(40))
        rows.append(passage(f"n{i:03}", "", f"quartz quartz {filler}"))
    bench = Bench(rows)
    # the question repeats the hub's words, so that it stands first, and shares none with its target
    result = await bench.search(SearchRequest("docs", "quartz vein near hub", top_k=4))
    far = next(hit for hit in result.hits if hit.chunk.document_id == "far")
    assert far.scores.dense is not None
    assert far.scores.bm25 is None
    assert bench.faults.calls["fetch"] == 1
    assert bench.faults.calls["links"] == 1


async def test_single_legs_report_their_own_score_only() -> None:
    bench = Bench(PLACES)
    dense = (await bench.search(SearchRequest("docs", QUESTION, mode=SearchMode.DENSE))).hits[0]
    bm25 = (await bench.search(SearchRequest("docs", QUESTION, mode=SearchMode.BM25))).hits[0]
    assert (dense.score, dense.scores.bm25, dense.scores.fused) == (dense.scores.dense, None, None)
    assert (bm25.score, bm25.scores.dense) == (bm25.scores.bm25, None)
    assert bench.faults.calls["embed"] == 1
    assert bench.faults.calls["about"] == 0


async def test_a_cosine_that_the_dense_leg_did_not_return_comes_from_the_vector() -> None:
    rows = [passage("rare", "Zyzzyva", "zyzzyva " + " ".join(f"filler{i}" for i in range(60)))]
    rows += [passage(f"d{i:03}", "Beetle", "beetle weevil") for i in range(LEG_LIMIT + 10)]
    request = SearchRequest("docs", "zyzzyva beetle weevil", top_k=100, mode=SearchMode.HYBRID)
    result = await Bench(rows).search(request)
    rare = next(hit for hit in result.hits if hit.chunk.document_id == "rare")
    assert rare.scores.dense is not None
    assert rare.scores.bm25 is not None


@pytest.mark.parametrize("mode", list(SearchMode))
async def test_a_hidden_version_is_never_found_not_even_by_a_link(mode: SearchMode) -> None:
    rows = [*PLACES, passage("singer", "Hank Snow", "A musician, new text", version=2)]
    bench = Bench(rows, hidden=frozenset({DocumentVersion("singer", 1)}))
    result = await bench.search(SearchRequest("docs", QUESTION, top_k=40, mode=mode))
    versions = {(hit.chunk.document_id, hit.chunk.version) for hit in result.hits}
    assert ("singer", 1) not in versions
    assert mode is SearchMode.BM25 or ("singer", 2) in versions


async def test_a_leg_asks_again_when_hidden_versions_took_its_hits() -> None:
    hidden = [passage("big", "Red", "red red", version=2, ordinal=n) for n in range(LEG_LIMIT)]
    seen = [passage(f"d{n}", "Red", "red blue green") for n in range(12)]
    bench = Bench([*hidden, *seen], hidden=frozenset({DocumentVersion("big", 2)}))
    result = await bench.search(SearchRequest("docs", "red", mode=SearchMode.DENSE))
    assert len(result.hits) == 10
    assert bench.vectors.limits == [LEG_LIMIT, 4 * LEG_LIMIT]


async def test_a_leg_asks_again_when_one_document_fills_its_quota() -> None:
    rows = [passage("big", "Red", "red red", ordinal=n) for n in range(LEG_LIMIT)]
    rows += [passage(f"d{n}", "Red", "red blue green") for n in range(12)]
    result = await Bench(rows).search(SearchRequest("docs", "red", max_per_document=1))
    assert len(set(documents_of(result))) == 10


async def test_a_small_corpus_is_not_asked_twice() -> None:
    bench = Bench(PLACES, hidden=frozenset({DocumentVersion("song", 1)}))
    await bench.search(SearchRequest("docs", QUESTION, top_k=40, mode=SearchMode.DENSE))
    assert bench.faults.calls["dense"] == 1


@pytest.mark.parametrize("live_set", ["lost", "down"])
async def test_the_record_says_what_is_hidden_when_the_live_set_cannot(live_set: str) -> None:
    bench = Bench(PLACES, hidden=None, unready=frozenset({DocumentVersion("song", 1)}))
    if live_set == "down":
        bench.faults.fail["hidden"] = Unavailable.dependency("visibility")
    result = await bench.search(SearchRequest("docs", QUESTION))
    assert "song" not in documents_of(result)
    assert result.degraded == ()


async def test_a_search_fails_rather_than_show_what_may_be_half_a_document() -> None:
    bench = Bench(PLACES, hidden=None)
    bench.faults.fail["hidden_versions"] = Unavailable.dependency("records")
    with pytest.raises(Unavailable):
        await bench.search(SearchRequest("docs", QUESTION))


async def test_access_lists_hold_for_linked_passages_as_well() -> None:
    rows = [PLACES[0], passage("singer", "Hank Snow", "He died in Tennessee", access=["staff"]), *PLACES[2:]]
    outsider = await Bench(rows).search(SearchRequest("docs", QUESTION, top_k=40))
    assert "singer" not in documents_of(outsider)
    staff = SearchRequest("docs", QUESTION, top_k=40, where=SearchFilter(groups=("staff",)))
    assert "singer" in documents_of(await Bench(rows).search(staff))


async def test_the_answer_is_the_same_each_time() -> None:
    request = SearchRequest("docs", QUESTION, top_k=20)
    first, second = await Bench(PLACES).search(request), await Bench(PLACES[::-1]).search(request)
    assert documents_of(first) == documents_of(second)


@pytest.mark.parametrize("mode", list(SearchMode))
async def test_an_empty_collection_has_no_hits(mode: SearchMode) -> None:
    result = await Bench([]).search(SearchRequest("docs", "anything", mode=mode))
    assert (result.hits, result.degraded) == ((), ())


@pytest.mark.parametrize("query", ["?", "東京", "x" * 5000, "\x00\x07"])
async def test_odd_queries_are_answered(query: str) -> None:
    assert (await Bench(PLACES).search(SearchRequest("docs", query))).degraded == ()


async def test_an_unknown_collection_is_not_found() -> None:
    with pytest.raises(NotFound):
        await Bench(PLACES).search(SearchRequest("nothing", QUESTION))


async def test_vectors_of_another_model_are_refused_with_a_sentence() -> None:
    bench = Bench(PLACES)
    bench.records.collections["acme", "docs"] = collection(dimension=384)
    with pytest.raises(FailedPrecondition, match="384 dimensions"):
        await bench.search(SearchRequest("docs", QUESTION))
    same_size = collection()
    spec = replace(same_size.spec, embedding_model="another")
    bench = Bench(PLACES)
    bench.records.collections["acme", "docs"] = replace(same_size, spec=spec)
    with pytest.raises(FailedPrecondition, match="another"):
        await bench.search(SearchRequest("docs", QUESTION))
    assert bench.faults.calls["embed"] == 0
    assert (await bench.search(SearchRequest("docs", QUESTION, mode=SearchMode.BM25))).hits


async def test_an_index_that_is_gone_is_looked_up_again_next_time() -> None:
    bench = Bench(PLACES)
    bench.faults.fail["dense"] = NotFound("no such index")
    with pytest.raises(NotFound):
        await bench.search(SearchRequest("docs", QUESTION))
    del bench.faults.fail["dense"]
    await bench.search(SearchRequest("docs", QUESTION))
    assert bench.faults.calls["get_collection"] == 2


async def test_each_step_is_timed() -> None:
    result = await Bench(PLACES).search(SearchRequest("docs", QUESTION))
    assert {t.name for t in result.timings} >= {"embed", "dense", "bm25", "named", "hidden", "links"}
    assert Part.GRAPH not in result.degraded
