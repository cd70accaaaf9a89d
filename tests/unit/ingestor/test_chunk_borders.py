"""Passages: every offset reproduces its text, nothing is lost, nothing is above the limit."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragmesh_backends.model.document import MediaType
from ragmesh_ingestor.domain.chunking import (
    SPECIAL_TOKENS,
    ChunkLimits,
    chunk_id,
    chunks_of,
    cut,
    embedding_prefix,
    embedding_text,
)
from ragmesh_ingestor.domain.parsed import ParsedDocument
from ragmesh_ingestor.domain.parsing import parse
from ragmesh_ingestor.domain.wordpieces import PieceIndex

_PIECE = re.compile(r"\w{1,6}|[^\w\s]")


def spans(text: str) -> list[tuple[int, int]]:
    """A stand-in for the model's tokenizer with its structure: words, cut further, and punctuation."""
    return [match.span() for word in re.finditer(r"\w+|[^\w\s]", text) for match in _within(word)]


def _within(word: re.Match[str]) -> list[re.Match[str]]:
    return list(_PIECE.finditer(word.string, word.start(), word.end()))


def passages(source: str, kind: MediaType, limits: ChunkLimits, title: str = "") -> tuple[ParsedDocument, list]:
    parsed = parse(source, kind)
    return parsed, cut(parsed, title, limits, spans)


_LINES = st.one_of(
    st.sampled_from(
        ["# One", "## Two", "### Three", "Title\n===", "- item", "1. item", "```", "| a | b |", "    code", "", "---"]
    ),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=80),
    st.lists(st.sampled_from(["alpha", "beta", "gamma", "delta.", "epsilon?", "straße", "漢字", "x"]), max_size=60).map(
        " ".join
    ),
)
_SOURCES = st.lists(_LINES, max_size=30).map("\n".join)


@given(_SOURCES, st.sampled_from([MediaType.TEXT, MediaType.MARKDOWN]), st.integers(32, 80), st.integers(0, 8))
def test_nothing_but_whitespace_is_outside_the_chunks(source: str, kind: MediaType, size: int, overlap: int) -> None:
    parsed, found = passages(source, kind, ChunkLimits(size, overlap))
    covered = [False] * len(parsed.text)
    for passage in found:
        assert 0 <= passage.start < passage.end <= len(parsed.text)
        assert parsed.text[passage.start : passage.end].strip() == parsed.text[passage.start : passage.end]
        covered[passage.start : passage.end] = [True] * (passage.end - passage.start)
    body = parsed.blocks[0].start if parsed.blocks else len(parsed.text)
    outside = "".join(c for c, seen in list(zip(parsed.text, covered, strict=True))[body:] if not seen)
    assert outside.strip() == ""
    assert [p.start for p in found] == sorted(p.start for p in found)
    if not overlap:
        assert all(a.end <= b.start for a, b in pairwise(found))


@given(_SOURCES, st.sampled_from(list(MediaType)), st.integers(32, 80), st.text(max_size=40))
def test_no_chunk_is_above_the_limit(source: str, kind: MediaType, size: int, title: str) -> None:
    _, found = passages(source, kind, ChunkLimits(size), title)
    parsed = parse(source, kind)
    for passage in found:
        prefix = len(spans(embedding_prefix(title, passage.heading_path)))
        room = max(size - SPECIAL_TOKENS - prefix, (size - SPECIAL_TOKENS) // 2)
        assert len(spans(parsed.text[passage.start : passage.end])) <= room


@given(st.text(max_size=300), st.sampled_from(list(MediaType)))
def test_blocks_are_in_order_and_reproduce_the_text(source: str, kind: MediaType) -> None:
    parsed = parse(source, kind)
    at = 0
    for block in parsed.blocks:
        assert at <= block.start < block.end <= len(parsed.text)
        assert parsed.text[block.start : block.end].strip()
        at = block.end


def test_a_chunk_is_exactly_the_text_between_its_offsets() -> None:
    source = "# Grüße\n\n" + "Ein Satz über Ålesund 🚢. " * 60
    parsed, found = passages(source, MediaType.MARKDOWN, ChunkLimits(64))
    chunks = chunks_of(parsed.text, "doc", 3, "Grüße", found)
    assert len(chunks) > 3
    assert all(chunk.text == source[chunk.start : chunk.end] for chunk in chunks)
    assert [chunk.ordinal for chunk in chunks] == list(range(len(chunks)))


def test_a_long_section_is_cut_into_pieces_of_about_equal_length() -> None:
    source = "alpha beta gamma delta. " * 60  # 300 pieces
    _, found = passages(source, MediaType.TEXT, ChunkLimits(256))
    sizes = [len(spans(source[p.start : p.end])) for p in found]
    assert len(sizes) == 2
    assert abs(sizes[0] - sizes[1]) <= 10


def test_sentences_are_not_torn_when_they_fit() -> None:
    source = "The first sentence is here. " * 40
    _, found = passages(source, MediaType.TEXT, ChunkLimits(64))
    assert all(source[p.start : p.end].endswith(".") for p in found)


def test_a_heading_stays_with_what_follows_it() -> None:
    body = "word " * 120
    source = f"# A\n\n{body}\n\n## B\n\n{body}\n\n## C\n\n{body}"
    parsed, found = passages(source, MediaType.MARKDOWN, ChunkLimits(64))
    texts = [parsed.text[p.start : p.end] for p in found]
    assert not any(re.search(r"^#+ \w\Z", text, re.MULTILINE) for text in texts)
    assert {p.heading_path for p in found} == {("A",), ("A", "B"), ("A", "C")}


def test_small_neighbouring_sections_are_merged_under_their_common_heading() -> None:
    source = "# Guide\n\n" + "\n\n".join(f"## Part {n}\n\nshort text" for n in range(5))
    _, found = passages(source, MediaType.MARKDOWN, ChunkLimits(256))
    assert [p.heading_path for p in found] == [("Guide",)]


def test_overlap_repeats_the_end_of_the_chunk_before() -> None:
    source = "alpha beta gamma delta. " * 60
    _, found = passages(source, MediaType.TEXT, ChunkLimits(64, overlap_tokens=8))
    assert all(b.start < a.end for a, b in pairwise(found))


def test_a_word_without_end_is_cut_by_length() -> None:
    source = "x" * 30_000
    _, found = passages(source, MediaType.TEXT, ChunkLimits(256))
    assert sum(p.end - p.start for p in found) == len(source)


def test_chunk_ids_are_stable_and_distinct() -> None:
    ids = {chunk_id(d, v, o) for d in ("a", "a:1", "b") for v in (1, 2, 11) for o in (0, 1, 11)}
    assert len(ids) == 27
    assert all(re.fullmatch("[0-9a-f]{32}", i) for i in ids)
    assert chunk_id("a", 1, 0) == chunk_id("a", 1, 0)


def test_the_embedded_text_names_title_and_headings_once() -> None:
    parsed, found = passages("# Guide\n\n## Setup\n\ntext", MediaType.MARKDOWN, ChunkLimits(256))
    chunk = chunks_of(parsed.text, "d", 1, "Guide", found)[0]
    assert embedding_text(chunk) == "Setup\n# Guide\n\n## Setup\n\ntext"


@pytest.mark.parametrize(("size", "overlap"), [(31, 0), (64, 17), (64, -1)])
def test_limits_that_make_no_sense_are_refused(size: int, overlap: int) -> None:
    with pytest.raises(ValueError, match="tokens"):
        ChunkLimits(size, overlap)


def test_a_short_document_of_one_section_stays_whole_and_a_longer_one_is_cut() -> None:
    sentence = "The quick brown fox jumps over the lazy dog. "
    limits = ChunkLimits(max_tokens=64, whole_tokens=128)
    short, longer = parse(sentence * 10, MediaType.TEXT), parse(sentence * 20, MediaType.TEXT)
    assert len(cut(short, "", limits, spans)) == 1
    assert len(cut(longer, "", limits, spans)) > 3


@given(st.text(max_size=60), st.integers(0, 70))
def test_whether_a_range_holds_at_most_so_many_pieces_is_the_same_counted_or_not(text: str, budget: int) -> None:
    index = PieceIndex(text, spans, 8_000)
    assert index.at_most(0, len(text), budget) == (index.count(0, len(text)) <= budget)


def test_a_short_text_is_not_tokenized() -> None:
    def never(text: str) -> list[tuple[int, int]]:
        raise AssertionError(text)

    assert PieceIndex("five words of ordinary text", never, 8_000).at_most(0, 27, 32)
