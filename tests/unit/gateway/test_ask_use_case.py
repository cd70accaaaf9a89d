"""A question and the events of its answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

import pytest

from ragmesh_gateway.domain.answer import (
    Answer,
    AnswerEvent,
    Citation,
    Degraded,
    Done,
    Found,
    Question,
    Source,
    SourcesFound,
    Token,
    Usage,
)
from ragmesh_gateway.domain.ask import Ask
from ragmesh_servicekit import deadline
from ragmesh_servicekit.errors import Internal, NotFound, Reason, Unavailable

DONE = Done(1, 1.0, 1)
USUAL: tuple[AnswerEvent[str], ...] = (
    Degraded((6,)), Token("One "), Token("[1]."), Citation(1, "c", "d", 4, 7), Usage("m", 1, 2, False), DONE,
)  # fmt: skip
QUESTION = Question("docs", "What?")


class Passages:
    def __init__(self, found: Found[str] | Exception) -> None:
        self._found = found
        self.left: float | None = None

    async def search(self, question: Question) -> Found[str]:
        self.left = deadline.remaining()
        if isinstance(self._found, Exception):
            raise self._found
        return self._found


class Words:
    """Says `events`; one that is an error is raised."""

    def __init__(self, *events: AnswerEvent[str] | Exception) -> None:
        self._events = events
        self.closed = False
        self.sources: Sequence[Source[str]] = ()

    async def generate(self, question: Question, sources: Sequence[Source[str]]) -> AsyncIterator[AnswerEvent[str]]:
        self.sources = sources
        try:
            for event in self._events:
                if isinstance(event, Exception):
                    raise event
                yield event
        finally:
            self.closed = True


class Scripts:
    """A generator of several replicas: each call says the next script, the last one for good."""

    def __init__(self, *scripts: Words) -> None:
        self._scripts = scripts
        self.calls = 0

    def generate(self, question: Question, sources: Sequence[Source[str]]) -> AsyncIterator[AnswerEvent[str]]:
        self.calls += 1
        return self._scripts[min(self.calls, len(self._scripts)) - 1].generate(question, sources)


FOUND = Found(("first", "second"), (3,))
LOST = Unavailable.dependency("generator")


async def test_the_whole_answer_is_the_fold_of_its_events() -> None:
    words = Words(*USUAL)
    ask: Ask[str] = Ask(Passages(FOUND), words)
    events = [event async for event in ask.stream(QUESTION)]
    numbered = (Source(1, "first"), Source(2, "second"))
    assert events == [SourcesFound(numbered), Degraded((3,)), *USUAL]
    assert tuple(words.sources) == numbered
    assert await ask.answer(QUESTION) == Answer(
        "One [1].", numbered, [Citation(1, "c", "d", 4, 7)], Usage("m", 1, 2, False), (3, 6), DONE
    )


async def test_strict_refuses_before_the_first_event() -> None:
    ask: Ask[str] = Ask(Passages(FOUND), Words(*USUAL))
    with pytest.raises(Unavailable, match="strict"):
        await anext(ask.stream(Question("docs", "What?", strict=True)))


async def test_a_search_that_fails_begins_no_answer() -> None:
    ask: Ask[str] = Ask(Passages(NotFound("no such collection")), Words(*USUAL))
    with pytest.raises(NotFound):
        await anext(ask.stream(QUESTION))


async def test_an_error_after_the_first_event_ends_stream_and_answer() -> None:
    ask: Ask[str] = Ask(Passages(FOUND), Words(Token("One"), Unavailable("the model is gone")))
    events = ask.stream(QUESTION)
    assert [await anext(events) for _ in range(3)][-1] == Token("One")
    with pytest.raises(Unavailable):
        await anext(events)
    with pytest.raises(Unavailable):
        await ask.answer(QUESTION)


@pytest.mark.parametrize("events", [(), (Token("One"),), (DONE, Token("more"))])
async def test_an_answer_whose_end_is_missing_is_our_fault(events: tuple[AnswerEvent[str], ...]) -> None:
    ask: Ask[str] = Ask(Passages(FOUND), Words(*events))
    with pytest.raises(Internal):
        await ask.answer(QUESTION)


async def test_leaving_the_stream_closes_the_generator() -> None:
    words = Words(*USUAL)
    async with aclosing(Ask(Passages(Found(("first",))), words).stream(QUESTION)) as events:
        async for event in events:
            if isinstance(event, Token):
                break
    assert words.closed


async def test_a_search_leaves_half_of_the_time_to_the_model() -> None:
    passages = Passages(FOUND)
    with deadline.scope(10.0):
        await Ask(passages, Words(*USUAL)).answer(QUESTION)
    assert passages.left == pytest.approx(5.0, abs=0.5)


async def test_a_generator_that_is_lost_is_replaced_and_nobody_sees_its_half() -> None:
    scripts = Scripts(Words(Token("Half"), LOST), Words(LOST), Words(*USUAL))
    ask: Ask[str] = Ask(Passages(FOUND), scripts)
    assert (await ask.answer(QUESTION)).text == "One [1]."
    assert scripts.calls == 3


async def test_a_stream_goes_on_with_another_generator_only_before_its_first_word() -> None:
    ask: Ask[str] = Ask(Passages(FOUND), Scripts(Words(LOST), Words(*USUAL)))
    assert [event async for event in ask.stream(QUESTION)][-1] == DONE
    begun = Scripts(Words(Token("Half"), LOST), Words(*USUAL))
    with pytest.raises(Unavailable):
        _ = [event async for event in Ask(Passages(FOUND), begun).stream(QUESTION)]
    assert begun.calls == 1


@pytest.mark.parametrize(
    "error",
    [
        Unavailable("the model does not answer", reason=Reason.MODEL_UNAVAILABLE),
        Unavailable("overloaded", reason=Reason.OVERLOADED),
        Unavailable("draining", reason=Reason.DRAINING, retry_after_seconds=-1),
        NotFound("no such collection"),
    ],
)
async def test_what_a_model_did_wrong_is_not_asked_for_again(error: Exception) -> None:
    scripts = Scripts(Words(error), Words(*USUAL))
    with pytest.raises(type(error)):
        await Ask(Passages(FOUND), scripts).answer(QUESTION)
    assert scripts.calls == 1


async def test_three_lost_generators_are_enough() -> None:
    scripts = Scripts(Words(LOST))
    with pytest.raises(Unavailable):
        await Ask(Passages(FOUND), scripts).answer(QUESTION)
    assert scripts.calls == 3
