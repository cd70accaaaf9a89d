"""Choosing passages that together cover a question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from ragmesh_backends.model.document import ChunkRow, ScoredChunk
from ragmesh_backends.model.graph import Link
from ragmesh_retriever.domain.candidates import Candidates
from ragmesh_retriever.domain.coverage import measure
from ragmesh_retriever.domain.links import LINK_WEIGHT, LinkMap
from ragmesh_retriever.domain.selection import Pick, best_of, select
from support.small_stores import passage


def choose(
    question: str,
    rows: Sequence[ChunkRow],
    cosines: Mapping[str, float],
    *,
    links: Sequence[Link] = (),
    named: Sequence[Link] = (),
    top_k: int = 10,
    max_per_document: int = 0,
) -> tuple[list[str], list[Pick]]:
    scored = [ScoredChunk(row.chunk, cosines[row.chunk.document_id]) for row in rows]
    candidates = Candidates(scored, None, np.zeros(1, dtype=np.float32))
    known = LinkMap(tuple(named))
    known.add(candidates.chunks, links, frozenset())
    coverage = measure(question, candidates.chunks, candidates.own)
    picks = select(candidates, coverage, known, top_k, max_per_document)
    return [candidates.chunks[pick.at].document_id for pick in picks], picks


def mention(source: str, target: str) -> Link:
    return Link(f"{source}:1:0", target, f"{target}:1:0", target, 1, 1, 1)


def test_without_words_or_links_the_fused_order_stands() -> None:
    rows = [passage(d, "", "same text") for d in "abc"]
    assert choose("?", rows, {"a": 0.1, "b": 0.9, "c": 0.5})[0] == ["b", "c", "a"]


def test_ties_are_broken_by_chunk_id_whatever_the_order_of_the_stores() -> None:
    rows = [passage(d, "", "same text") for d in "dbca"]
    even = dict.fromkeys("abcd", 0.5)
    assert choose("text", rows, even)[0] == ["a", "b", "c", "d"]
    assert choose("text", rows[::-1], even)[0] == ["a", "b", "c", "d"]


def test_a_passage_with_the_missing_words_comes_before_a_better_one_that_repeats() -> None:
    rows = [
        passage("first", "", "the actor starred in Casablanca"),
        passage("copy", "", "the actor starred in Casablanca"),
        passage("other", "", "the birthplace is a town"),
        *(passage(f"noise{i}", "", "nothing of note") for i in range(8)),
    ]
    cosines = {"first": 0.8, "copy": 0.79, "other": 0.7} | {f"noise{i}": 0.1 for i in range(8)}
    chosen, picks = choose("birthplace of the Casablanca actor", rows, cosines)
    assert chosen[:3] == ["first", "other", "copy"]
    assert picks[1].coverage > 0.1
    assert picks[2].coverage == pytest.approx(0.0)


def test_what_a_chosen_passage_mentions_is_lifted_and_says_by_whom() -> None:
    rows = [passage(d, "", "plain") for d in ("source", "better", "target")]
    cosines = {"source": 0.8, "better": 0.6, "target": 0.5}
    chosen, picks = choose("?", rows, cosines, links=[mention("source", "target")])
    assert chosen == ["source", "target", "better"]
    assert picks[1].link == pytest.approx(LINK_WEIGHT)
    assert picks[1].via == mention("source", "target")


def test_what_only_an_unchosen_passage_mentions_is_not_lifted() -> None:
    rows = [passage(d, "", "plain") for d in ("a", "b", "weak", "target")]
    cosines = {"a": 0.8, "b": 0.7, "weak": 0.2, "target": 0.1}
    chosen, picks = choose("?", rows, cosines, links=[mention("weak", "target")], top_k=2)
    assert chosen == ["a", "b"]
    assert all(pick.link == 0.0 for pick in picks)


def test_many_mentions_of_one_thing_count_as_the_best_of_them() -> None:
    rows = [passage(d, "", "plain") for d in ("a", "b", "c", "target")]
    cosines = {"a": 0.8, "b": 0.79, "c": 0.78, "target": 0.1}
    _, picks = choose("?", rows, cosines, links=[mention(s, "target") for s in "abc"])
    assert picks[-1].link == pytest.approx(LINK_WEIGHT)


def test_what_the_question_names_is_lifted_by_how_telling_the_name_is() -> None:
    rows = [passage("it", "It", "a film"), passage("curie", "Marie Curie", "a chemist")]
    rows += [passage(f"d{i}", "", "it is what it is") for i in range(10)]
    cosines = {"it": 0.3, "curie": 0.3} | {f"d{i}": 0.35 for i in range(10)}
    named = [
        Link("", "it", "it:1:0", "it", 1, 0, 1),
        Link("", "marie curie", "curie:1:0", "curie", 1, 0, 1),
    ]
    chosen, picks = choose("what is it that Marie Curie found", rows, cosines, named=named, top_k=12)
    assert chosen[0] == "curie"
    assert picks[0].link == pytest.approx(LINK_WEIGHT)
    assert picks[chosen.index("it")].link < 0.2 * LINK_WEIGHT


def test_a_document_gives_no_more_than_its_quota() -> None:
    rows = [passage("a", "", "plain", ordinal=n) for n in range(4)] + [passage("b", "", "plain")]
    chosen, _ = choose("?", rows, {"a": 0.9, "b": 0.1}, max_per_document=2)
    assert chosen == ["a", "a", "b"]
    assert list(best_of([row.chunk for row in rows], 3, 2)) == [0, 1, 4]
    assert list(best_of([row.chunk for row in rows], 3, 0)) == [0, 1, 2]


def test_no_candidates_give_no_picks() -> None:
    assert choose("anything", [], {}) == ([], [])
