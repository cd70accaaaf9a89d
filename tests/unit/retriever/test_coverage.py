"""Which words of the question a passage holds."""

from __future__ import annotations

import pytest

from ragmesh_backends.model.tokens import words
from ragmesh_retriever.domain.coverage import fold, measure, stems_of, terms_of
from support.small_stores import passage


@pytest.mark.parametrize(
    "text",
    [
        "Plain words, 3.5 of them; under_scores and CAPITALS!",
        "Élan vital – naïve façade… “quoted”",
        "β-catenin levels rose 5 µm (½ of it)",
        "Москва и Ёлка",
        "ΟΔΥΣΣΕΥΣ went home",
        "東京 tower",
        "",
        "\n\t ",
    ],
)
def test_folding_finds_the_words_that_ingestion_counts(text: str) -> None:
    assert tuple(fold(text).split()) == words(text)


def test_long_words_match_by_their_beginning_and_short_ones_as_a_whole() -> None:
    terms = terms_of("Who published the state list?")
    assert terms == ("who", "publis", "the", "state", "list")
    stems = stems_of("Publishers of a stately list")
    assert [term in stems for term in terms] == [False, True, False, False, True]


def test_words_inside_other_words_do_not_count() -> None:
    assert "art" not in stems_of("party artful")


def test_what_tells_candidates_apart_weighs_most_and_what_none_holds_nothing() -> None:
    rows = [passage(f"d{i}", f"Title {i}", "the river flows") for i in range(9)]
    rows.append(passage("d9", "Title 9", "the river Danube flows"))
    measured = measure("the Danube xylophone", [row.chunk for row in rows], len(rows))
    weight = dict(zip(measured.terms, measured.weight.tolist(), strict=True))
    assert weight["danube"] > 10 * weight["the"]
    assert weight["xyloph"] == 0.0
    assert sum(weight.values()) == pytest.approx(1.0)


def test_neighbours_that_join_do_not_change_what_a_word_is_worth() -> None:
    chunks = [passage(f"d{i}", "T", text).chunk for i, text in enumerate(["red house", "blue house", "red door"])]
    alone = measure("red house", chunks[:2], 2)
    joined = measure("red house", chunks, 2)
    assert alone.weight.tolist() == joined.weight.tolist()
    assert joined.held.shape == (3, 2)


def test_a_name_of_common_words_tells_little() -> None:
    rows = [passage(f"d{i}", "T", "who was it") for i in range(20)]
    rows.append(passage("d20", "T", "who was Galileo"))
    measured = measure("who was Galileo", [row.chunk for row in rows], len(rows))
    assert measured.weight_of_name("galileo") == pytest.approx(1.0)
    assert measured.weight_of_name("who") < 0.05


@pytest.mark.parametrize("question", ["?!", "", "東京"])
def test_a_question_without_known_words_covers_nothing(question: str) -> None:
    measured = measure(question, [passage("d", "Title", "some text").chunk], 1)
    assert measured.weight.sum() == 0.0
    assert measured.weight_of_name("title") == 0.0
