from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from ragmesh_backends.embeddings import weights
from ragmesh_backends.embeddings.tokenizer import SPECIAL_TOKENS, WordPieces
from ragmesh_servicekit.errors import FailedPrecondition, InvalidArgument

CLS, SEP = 101, 102


@pytest.fixture(scope="module")
def pieces() -> WordPieces:
    return WordPieces(weights.installed().tokenizer)


def test_spans_are_code_points_of_the_original_text(pieces: WordPieces) -> None:
    text = "Tea 🎈 for São João, 漢字!"
    assert [text[start:end] for start, end in pieces.spans(text)] == [
        "Tea", "🎈", "for", "São", "João", ",", "漢", "字", "!",
    ]  # fmt: skip


def test_a_rare_word_has_several_pieces_side_by_side(pieces: WordPieces) -> None:
    text = "unquestionableness"
    spans = pieces.spans(text)
    assert len(spans) > 1
    assert "".join(text[start:end] for start, end in spans) == text
    assert all(before[1] == after[0] for before, after in pairwise(spans))


@pytest.mark.parametrize("text", ["", "   ", "one", "Two words.", "x" * 200, "a\x00b"])
def test_count_is_the_number_of_spans_and_of_model_inputs(pieces: WordPieces, text: str) -> None:
    assert pieces.count(text) == len(pieces.spans(text)) == len(pieces.encode(text)) - SPECIAL_TOKENS


def test_neither_count_nor_spans_stop_at_the_models_limit(pieces: WordPieces) -> None:
    text = "word " * 10_000
    assert pieces.count(text) == len(pieces.spans(text)) == 10_000


def test_an_input_is_cut_at_the_limit_and_still_ends_as_the_model_expects(pieces: WordPieces) -> None:
    ids = pieces.encode("word " * 10_000)
    assert len(ids) == pieces.max_tokens == 256
    assert (ids[0], ids[-1]) == (CLS, SEP)
    assert SEP not in ids[1:-1]


def test_an_input_at_the_limit_is_not_cut(pieces: WordPieces) -> None:
    short = WordPieces(weights.installed().tokenizer, max_tokens=5)
    assert list(short.encode("one two three")) == list(pieces.encode("one two three"))
    assert list(short.encode("one two three four")) == list(pieces.encode("one two three"))


@pytest.mark.parametrize("max_tokens", [-1, 2, 513])
def test_a_limit_that_the_model_cannot_have_is_refused(max_tokens: int) -> None:
    with pytest.raises(InvalidArgument, match="max_tokens: must be between 3 and 512"):
        WordPieces(weights.installed().tokenizer, max_tokens)


def test_a_lone_surrogate_is_refused_in_a_sentence(pieces: WordPieces) -> None:
    with pytest.raises(InvalidArgument, match="text: must be Unicode text"):
        pieces.count("half a pair \ud83c")


def test_a_tokenizer_file_that_is_none_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    file.write_text("{}")
    with pytest.raises(FailedPrecondition, match=r"tokenizer\.json cannot be used"):
        WordPieces(file)
