"""The built-in answerer quotes what answers the question, and only that."""

from __future__ import annotations

import asyncio
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragmesh_backends.llms.extractive import ExtractiveAnswerer
from ragmesh_backends.llms.question import stem, terms
from ragmesh_backends.model.generation import (
    NO_ANSWER_SENTENCE,
    Finished,
    FinishReason,
    ModelRequest,
    Passage,
    TextDelta,
)
from ragmesh_backends.model.sentences import MARK
from ragmesh_generator.domain.citations import CitationParser
from ragmesh_generator.domain.events import Citation, Token

HARBOUR = Passage(
    1,
    "harbour",
    "Harbour",
    "# Harbour\n\nThe harbour of Larn was built in 1871 by Ada Quell. It has two piers. "
    "Ships may stay for 14 days.\n\n- Fees are paid at the gate.\n- Dogs must be kept on a lead.\n\n"
    "```\nharbour.open(1871)\n```\n",
)
WEATHER = Passage(
    2, "weather", "Weather", "Storms reach Larn mostly in November. The harbour closes when waves pass 4 m."
)
FISH = Passage(3, "fish", "Fish", "Cod is landed every morning. The auction starts at six.")
ALL = (HARBOUR, WEATHER, FISH)


async def answer(
    question: str, passages: tuple[Passage, ...] = ALL, max_tokens: int = 300
) -> tuple[str, FinishReason, list[str]]:
    pieces: list[str] = []
    reason: FinishReason | None = None
    async for event in ExtractiveAnswerer().stream(ModelRequest(question, passages, (), max_tokens)):
        if isinstance(event, TextDelta):
            pieces.append(event.text)
        else:
            assert isinstance(event, Finished)
            assert event.usage.estimated
            reason = event.reason
    assert reason is not None
    return "".join(pieces), reason, pieces


@pytest.mark.parametrize(
    ("question", "beginning"),
    [
        ("When was the harbour of Larn built?", "The harbour of Larn was built in 1871 by Ada Quell. [1]"),
        ("Who built the harbour?", "The harbour of Larn was built in 1871 by Ada Quell. [1]"),
        ("How many days may ships stay?", "Ships may stay for 14 days. [1]"),
        ("Where are fees paid?", "Fees are paid at the gate. [1]"),
        ("When does the harbour close?", "The harbour closes when waves pass 4 m. [2]"),
        ("What time does the auction start?", "The auction starts at six. [3]"),
    ],
)
async def test_the_sentence_that_answers_comes_with_the_mark_of_its_passage(question: str, beginning: str) -> None:
    text, reason, _ = await answer(question)
    assert beginning in text
    assert reason is FinishReason.STOP


@pytest.mark.parametrize(
    "question",
    ["Who won the cup in 1998?", "What colour is a quark?", "Explain monetary policy", "???", "the of and", ""],
)
async def test_a_question_without_support_gets_one_honest_sentence_and_no_citation(question: str) -> None:
    assert (await answer(question))[:2] == (NO_ANSWER_SENTENCE, FinishReason.NO_ANSWER)


async def test_no_passages_are_no_answer() -> None:
    assert (await answer("When was the harbour built?", ()))[1] is FinishReason.NO_ANSWER


async def test_code_and_headings_are_never_quoted() -> None:
    text, _, _ = await answer("How is the harbour opened: harbour open 1871?")
    assert "harbour.open" not in text
    assert "#" not in text


async def test_a_question_of_two_parts_is_answered_from_both_passages() -> None:
    text, _, _ = await answer("When was the harbour of Larn built, and in which month do storms reach it?")
    assert "1871" in text
    assert "November" in text
    assert {"[1]", "[2]"} <= set(re.findall(r"\[\d\]", text))


async def test_the_same_sentence_in_two_passages_is_said_once() -> None:
    twin = Passage(2, "twin", "Harbour", HARBOUR.text)
    text, _, _ = await answer("When was the harbour of Larn built?", (HARBOUR, twin))
    assert text.count("1871") == 1
    assert "[2]" not in text


async def test_marks_of_the_source_are_not_taken_for_citations() -> None:
    source = Passage(1, "wiki", "Larn", "The harbour of Larn[2] was built in 1871.[3] See rows[4] and [5, 6].")
    text, _, _ = await answer("When was the harbour of Larn built?", (source,))
    assert set(re.findall(MARK, text)) == {"[1]"}


async def test_a_token_limit_leaves_whole_sentences_out() -> None:
    question = "When was the harbour of Larn built, and in which month do storms reach it?"
    text, reason, _ = await answer(question, max_tokens=20)
    assert reason is FinishReason.LENGTH
    assert text.endswith("]")
    assert text.count("[") == 1


async def test_the_answer_comes_in_pieces_and_lets_others_run_between_them() -> None:
    ticks = 0

    async def other() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other(), name="test.other")
    _, _, pieces = await answer("When was the harbour of Larn built?")
    task.cancel()
    assert len(pieces) >= 3
    assert ticks >= len(pieces)


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("东京的人口是多少？", "东京是日本的首都。东京的人口约为一千四百万。"),
        ("東京の人口は何人ですか。", "東京は日本の首都です。東京の人口は約千四百万人です。"),
        ("Сколько стоит билет?", "Музей открыт ежедневно. Билет стоит 300 рублей."),
        ("Wie viele Tage dürfen Schiffe bleiben?", "Hunde sind verboten. Schiffe dürfen vierzehn Tage bleiben."),
        ("كم عدد السفن في الميناء؟", "الميناء قديم. عدد السفن في الميناء عشرون."),
    ],
    ids=["zh", "ja", "ru", "de", "ar"],
)
async def test_other_languages_find_their_sentence(question: str, text: str) -> None:
    passage = Passage(1, "c", "", text)
    said, reason, _ = await answer(question, (passage,))
    assert reason is FinishReason.STOP
    assert text[len(text) // 2 :].split()[-1] in said
    assert said.endswith("[1]")


WORDS = st.sampled_from(
    [
        "harbour",
        "Larn",
        "built",
        "1871.",
        "the",
        "rows[1]",
        "[2]",
        "[3,",
        "4]",
        "`x",
        "y`",
        "``",
        "\n\n",
        "- ",
        "# a\n",
        "。",
        "Dr.",
    ]
)
TEXTS = st.lists(WORDS, max_size=40).map(" ".join)


@given(st.lists(TEXTS, max_size=5))
async def test_it_never_cites_a_passage_that_a_sentence_was_not_taken_from(texts: list[str]) -> None:
    passages = tuple(Passage(n, f"c{n}", "Larn", t) for n, t in enumerate(texts, 1))
    text, reason, _ = await answer("When was the harbour of Larn built?", passages)
    if reason is FinishReason.NO_ANSWER:
        return
    parser = CitationParser({p.number: p.chunk_id for p in passages})
    events = [*parser.feed(text), *parser.finish()]
    shown = "".join(e.text for e in events if isinstance(e, Token))
    citations = [e for e in events if isinstance(e, Citation)]
    assert shown == text
    assert citations[-1].end == len(text)
    start = 0
    for citation in citations:
        sentence, start = text[start : citation.start], citation.end
        assert terms(sentence)
        taken_from = set(terms(texts[citation.number - 1]))
        assert set(terms(sentence)) <= taken_from


@given(st.text(max_size=400), st.text(max_size=60))
async def test_any_text_is_answered_without_an_error(text: str, question: str) -> None:
    _, reason, pieces = await answer(question, (Passage(1, "c", text[:20], text),))
    assert all(pieces)
    assert reason in {FinishReason.STOP, FinishReason.NO_ANSWER}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("store", "stores"),
        ("store", "stored"),
        ("store", "storing"),
        ("stop", "stopped"),
        ("query", "queries"),
        ("box", "boxes"),
        ("build", "builds"),
        ("key", "keys"),
    ],
)
def test_inflected_forms_meet(one: str, other: str) -> None:
    assert stem(one) == stem(other)


@pytest.mark.parametrize(
    ("one", "other"), [("bus", "but"), ("process", "proceed"), ("status", "state"), ("new", "news")]
)
def test_different_words_stay_apart(one: str, other: str) -> None:
    assert one == "new" or stem(one) != stem(other)
