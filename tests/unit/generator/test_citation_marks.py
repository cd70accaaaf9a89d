"""Marks in a streamed text: what becomes a citation, what is taken out, what passes, however the stream is cut."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragmesh_generator.domain.citations import CitationParser
from ragmesh_generator.domain.events import Citation, Token

SUPPLIED = {1: "c1", 2: "c2", 3: "c3", 12: "c12"}


def parse(pieces: Sequence[str]) -> tuple[str, list[Citation]]:
    parser = CitationParser(SUPPLIED)
    events = [e for piece in pieces for e in parser.feed(piece)] + list(parser.finish())
    text = "".join(e.text for e in events if isinstance(e, Token))
    return text, [e for e in events if isinstance(e, Citation)]


@pytest.mark.parametrize(
    ("written", "shown", "numbers"),
    [
        ("Tides. [1]", "Tides. [1]", [1]),
        ("Tides.[1]", "Tides.[1]", [1]),
        ("Paris[1].", "Paris[1].", [1]),
        ("Both [1][2].", "Both [1][2].", [1, 2]),
        ("Both [1, 2].", "Both [1][2].", [1, 2]),
        ("Both [1;12].", "Both [1][12].", [1, 12]),
        ("Twice [1, 1].", "Twice [1].", [1]),
        ("Half known [1, 9].", "Half known [1].", [1]),
        ("Half known [9, 2].", "Half known [2].", [2]),
        ("Unknown [9].", "Unknown.", []),
        ("Unknown [9] inside", "Unknown inside", []),
        ("Unknown[9].", "Unknown.", []),
        ("Unknown [9, 8, 7].", "Unknown.", []),
        ("Seen [1] [9] [2].", "Seen [1] [2].", [1, 2]),
        ("array[0] and [a] and [^1]", "array[0] and [a] and [^1]", []),
        ("in [1998] and [1-3] and [ 1 ]", "in [1998] and [1-3] and [ 1 ]", []),
        ("code `rows[1]` stays", "code `rows[1]` stays", []),
        ("code `rows[9]` stays, [1]", "code `rows[9]` stays, [1]", [1]),
        ("``a ` [1]`` [2]", "``a ` [1]`` [2]", [2]),
        ("```\nx = y[1]\n\nz[9]\n``` [3]", "```\nx = y[1]\n\nz[9]\n``` [3]", [3]),
        ("a stray ` here\nand [1]", "a stray ` here\nand [1]", [1]),
        ("cut off [1", "cut off [1", []),
        ("ends blank ", "ends blank ", []),
        ("[[1]]", "[[1]]", [1]),
        ("[1[9]2]", "[1?2]", []),
        ("[[9]1]", "[?1]", []),
        ("日本語。[2]次", "日本語。[2]次", [2]),
        ("", "", []),
    ],
)
def test_what_is_a_mark_and_what_is_not(written: str, shown: str, numbers: list[int]) -> None:
    text, citations = parse([written])
    assert (text, [c.number for c in citations]) == (shown, numbers)


def test_offsets_are_code_points_of_the_answer_as_shown() -> None:
    text, citations = parse(["😀 gone [9], kept [1, 2]."])
    assert text == "😀 gone, kept [1][2]."
    assert [text[c.start : c.end] for c in citations] == ["[1]", "[2]"]
    assert citations[0] == Citation(1, "c1", 13, 16)


def test_only_what_may_become_a_mark_is_held_back() -> None:
    parser = CitationParser(SUPPLIED)
    assert list(parser.feed("The sea")) == [Token("The sea")]
    assert list(parser.feed(" is")) == [Token(" is")]
    assert list(parser.feed(" [")) == []
    assert list(parser.feed("1")) == []
    assert list(parser.feed("] big")) == [Token(" [1] big"), Citation(1, "c1", 11, 14)]
    assert list(parser.feed(" [a")) == [Token(" [a")]


def test_a_citation_follows_the_token_that_completes_its_mark() -> None:
    parser = CitationParser(SUPPLIED)
    kinds = [type(e) for piece in ("a [", "1] b [2", "] c") for e in parser.feed(piece)]
    assert kinds == [Token, Token, Citation, Token, Citation]


MARKUP = st.text(st.sampled_from("[]1290,; `\nab.日😀"), max_size=60)


@st.composite
def cut_texts(draw: st.DrawFn) -> tuple[str, list[str]]:
    text = draw(MARKUP)
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=12)))
    return text, [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


@given(cut_texts())
def test_the_result_does_not_depend_on_where_the_stream_is_cut(case: tuple[str, list[str]]) -> None:
    text, pieces = case
    assert parse(pieces) == parse([text]) == parse(list(text))


@given(MARKUP)
def test_no_citation_names_a_number_that_was_not_supplied(text: str) -> None:
    shown, citations = parse([text])
    for citation in citations:
        assert SUPPLIED[citation.number] == citation.chunk_id
        assert shown[citation.start : citation.end] == f"[{citation.number}]"


@given(MARKUP.filter(lambda text: "`" not in text))
def test_what_is_shown_holds_no_mark_without_a_citation(text: str) -> None:
    shown, citations = parse([text])
    assert parse([shown]) == (shown, citations)


@given(st.text(max_size=200).filter(lambda text: "[" not in text))
def test_text_without_brackets_passes_unchanged(text: str) -> None:
    assert parse([text]) == (text, [])
