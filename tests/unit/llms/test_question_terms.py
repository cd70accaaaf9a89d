"""What a question is about."""

from __future__ import annotations

from ragmesh_backends.llms.question import Question, stem


def test_words_that_are_articles_elsewhere_count_in_english() -> None:
    assert Question.read("Where did the war and his son die?").terms == ("war", "son", "die")


def test_inflections_of_die_and_carry_meet() -> None:
    assert stem("died") == stem("die")
    assert stem("carried") == stem("carry")
