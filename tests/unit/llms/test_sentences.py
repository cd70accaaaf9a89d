"""Where sentences begin and end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragmesh_backends.model.sentences import sentences
from ragmesh_backends.model.token_estimate import TokenEstimate


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("Dr. Quell met J. R. Low in St. Ives.", ["Dr. Quell met J. R. Low in St. Ives."]),
        ("See e.g. Fig. 3 in vol. 2. Then stop.", ["See e.g. Fig. 3 in vol. 2.", "Then stop."]),
        ("It costs 3.50 euros. Pay.", ["It costs 3.50 euros.", "Pay."]),
        ("No. 5 lives. He said no. Then left.", ["No. 5 lives.", "He said no.", "Then left."]),
        ('"Why?" she asked. "Now!"', ['"Why?" she asked.', '"Now!"']),
        ("Done. [1] Next [2, 3]. [1][2] End.", ["Done. [1]", "Next [2, 3]. [1][2]", "End."]),
        ("- one\n- two. And more\n1. three", ["one", "two.", "And more", "three"]),
        ("A line\nthat goes on. B.", ["A line\nthat goes on.", "B."]),
        ("Title\n=====\nText here.", ["Text here."]),
        ("# Title\nText here.\n\n| a | b |\n|---|---|\nEnd.", ["Text here.", "End."]),
        ("Before.\n```py\ncode. Here.\n```\nAfter.", ["Before.", "After."]),
        ("```\nnever closed. x", []),
        ("これは本です。[1]次の文！終わり", ["これは本です。[1]", "次の文！", "終わり"]),
        ("Use v1.2.3 of a.b.c now.", ["Use v1.2.3 of a.b.c now."]),
        ("", []),
        (" \n\n--- ... !!!", []),
    ],
)
def test_sentences_are_cut_where_a_reader_would(text: str, expected: list[str]) -> None:
    assert [s.text for s in sentences(text)] == expected


def test_a_sentence_knows_its_heading() -> None:
    found = sentences("# A\nOne.\n## B #\nTwo.\n\nC\n---\nThree.")
    assert [(s.text, s.heading) for s in found] == [("One.", "A"), ("Two.", "B"), ("Three.", "C")]


@given(st.text(st.sampled_from("aB1 .!?。\n-#`|=[]\"'é\r\u2028"), max_size=120))
def test_sentences_are_ranges_of_the_text_in_order(text: str) -> None:
    end = 0
    for sentence in sentences(text):
        assert text[sentence.start : sentence.end] == sentence.text
        assert sentence.start >= end
        assert sentence.text == sentence.text.strip() != ""
        end = sentence.end


@given(st.text(max_size=100), st.text(max_size=100))
def test_the_token_estimate_grows_with_the_text(one: str, other: str) -> None:
    count = TokenEstimate().count
    assert count(one + " " + other) == count(one) + count(other)
    assert count(one) >= 0


def test_the_token_estimate_errs_on_the_high_side_of_a_few_known_counts() -> None:
    """Known: the GPT-4 vocabulary (cl100k) needs 9 and 10 tokens for the first two."""
    count = TokenEstimate().count
    assert 9 <= count("The quick brown fox jumps over the lazy dog") <= 14
    assert 10 <= count("The quick brown fox jumps over the lazy dog.") <= 15
    assert count("東京の人口") >= 5
