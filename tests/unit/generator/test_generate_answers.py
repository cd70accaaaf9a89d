"""The use case with models that are scripted in process: the port is the seam, so these are real models to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import pytest

from ragmesh_backends.llms.extractive import ExtractiveAnswerer
from ragmesh_backends.model.generation import (
    NO_ANSWER_SENTENCE,
    Finished,
    FinishReason,
    ModelEvent,
    ModelRequest,
    ModelUsage,
    Passage,
    TextDelta,
)
from ragmesh_backends.model.token_estimate import TokenEstimate
from ragmesh_generator.domain.events import AnswerEvent, AnswerRequest, Citation, Degraded, Done, Token, Usage
from ragmesh_generator.domain.generate import AnswerLimits, Generate
from ragmesh_generator.domain.prompt import PromptBuilder
from ragmesh_servicekit.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    MeshError,
    Reason,
    Unavailable,
)

PASSAGES = (
    Passage(1, "c1", "Tides", "The moon pulls on the sea. That pull makes two tides a day."),
    Passage(2, "c2", "Salt", "Rivers carry salt into the sea."),
)
REQUEST = AnswerRequest("What makes the tides?", PASSAGES)
USAGE = ModelUsage("scripted", 10, 20)
DOWN = Unavailable("down", reason=Reason.MODEL_UNAVAILABLE, metadata={"dependency": "model", "cause": "status_500"})


class ScriptedModel:
    """Says the pieces; an exception among them is raised, an Event is waited for, a callable is called."""

    name = "scripted"

    def __init__(
        self,
        *steps: str | Exception | asyncio.Event | Callable[[], None],
        reason: FinishReason = FinishReason.STOP,
    ) -> None:
        self._steps = steps
        self._reason = reason
        self.requests: list[ModelRequest] = []
        self.closed = False

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        self.requests.append(request)
        try:
            for step in self._steps:
                if isinstance(step, Exception):
                    raise step
                if isinstance(step, asyncio.Event):
                    await step.wait()
                elif isinstance(step, str):
                    yield TextDelta(step)
                else:
                    step()
            yield Finished(self._reason, USAGE)
        finally:
            self.closed = True


def generate(model: ScriptedModel | ExtractiveAnswerer, *, fallback: bool = True, **limits: float) -> Generate:
    counter = TokenEstimate()
    return Generate(
        model,
        prompts=PromptBuilder(counter),
        counter=counter,
        fallback=ExtractiveAnswerer() if fallback else None,
        limits=AnswerLimits(**limits),  # type: ignore[arg-type]  # every limit is a number
    )


async def events_of(use_case: Generate, request: AnswerRequest = REQUEST) -> list[AnswerEvent]:
    return [event async for event in use_case.run(request)]


def text_of(events: list[AnswerEvent]) -> str:
    return "".join(e.text for e in events if isinstance(e, Token))


async def test_an_answer_is_tokens_citations_usage_and_done() -> None:
    events = await events_of(generate(ScriptedModel("The moon", " does [", "1]. Salt", " [7] too."), window_seconds=0))
    assert text_of(events) == "The moon does [1]. Salt too."
    assert [e for e in events if isinstance(e, Citation)] == [Citation(1, "c1", 14, 17)]
    assert events[-2] == Usage(USAGE, 2, 0, citations_dropped=1)
    assert events[-1] == Done(FinishReason.STOP, 0.5)


async def test_confidence_is_the_share_of_sentences_that_are_cited() -> None:
    model = ScriptedModel("One. [1] Two [2]. Three. [1][2] Four.")
    assert (await events_of(generate(model)))[-1] == Done(FinishReason.STOP, 0.75)


async def test_the_model_is_given_the_prompt_and_the_limit() -> None:
    model = ScriptedModel("x [1].")
    await events_of(generate(model), AnswerRequest("Why?", PASSAGES, max_tokens=33))
    (asked,) = model.requests
    assert asked.max_tokens == 33
    assert [m.role for m in asked.messages] == ["system", "user"]
    assert asked.passages == PASSAGES


@pytest.mark.parametrize(
    "error", [DOWN, FailedPrecondition("too long", reason=Reason.MODEL_REFUSED)], ids=["down", "refused"]
)
async def test_a_model_that_fails_before_its_first_token_is_stood_in_for_and_that_is_said(error: MeshError) -> None:
    events = await events_of(generate(ScriptedModel(error)))
    assert isinstance(events[0], Degraded)
    assert sum(isinstance(e, Degraded) for e in events) == 1
    assert text_of(events).startswith("That pull makes two tides a day. [1]")
    assert isinstance(events[-1], Done)
    assert events[-1].confidence == 1.0


async def test_a_model_that_says_nothing_is_stood_in_for() -> None:
    events = await events_of(generate(ScriptedModel()))
    assert events[0] == Degraded("scripted", "empty")


async def test_a_model_that_says_nothing_but_wrong_marks_is_stood_in_for() -> None:
    assert (await events_of(generate(ScriptedModel("[9]", " [8]"))))[0] == Degraded("scripted", "empty")


@pytest.mark.parametrize("fallback", [True, False])
async def test_a_strict_request_or_no_stand_in_refuses(fallback: bool) -> None:
    request = AnswerRequest("What makes the tides?", PASSAGES, strict=fallback)
    with pytest.raises(Unavailable) as caught:
        await events_of(generate(ScriptedModel(DOWN), fallback=fallback), request)
    assert caught.value is DOWN


async def test_a_deadline_that_passed_is_not_stood_in_for() -> None:
    with pytest.raises(DeadlineExceeded):
        await events_of(generate(ScriptedModel(DeadlineExceeded("late"))))


async def test_a_failure_after_the_first_token_is_raised_after_what_was_said() -> None:
    said: list[AnswerEvent] = []
    stream = generate(ScriptedModel("The moon", " does", DOWN), window_seconds=60).run(REQUEST)
    said += [await anext(stream), await anext(stream)]
    with pytest.raises(Unavailable):
        await anext(stream)
    assert text_of(said) == "The moon does"


async def test_without_passages_no_model_is_called() -> None:
    model = ScriptedModel("x")
    events = await events_of(generate(model), AnswerRequest("Why?", ()))
    assert model.requests == []
    assert text_of(events) == NO_ANSWER_SENTENCE
    assert events[-1] == Done(FinishReason.NO_ANSWER, 0.0)


async def test_the_agreed_sentence_of_a_model_means_no_answer() -> None:
    events = await events_of(generate(ScriptedModel(NO_ANSWER_SENTENCE[:9], NO_ANSWER_SENTENCE[9:])))
    assert events[-1] == Done(FinishReason.NO_ANSWER, 0.0)


@pytest.mark.parametrize("reason", [FinishReason.LENGTH, FinishReason.CONTENT_FILTER])
async def test_the_reason_of_the_model_is_passed_on(reason: FinishReason) -> None:
    assert (await events_of(generate(ScriptedModel("Half a", reason=reason))))[-1] == Done(reason, 0.0)


async def test_an_endless_answer_is_cut_and_the_model_stopped() -> None:
    model = ScriptedModel(*["word "] * 1000, "never reached")
    events = await events_of(generate(model, max_characters=52, window_seconds=0))
    assert text_of(events) == ("word " * 11)[:52]
    assert model.closed
    usage, done = events[-2:]
    assert isinstance(usage, Usage)
    assert usage.usage.estimated
    assert done == Done(FinishReason.LENGTH, 0.0)


async def test_the_first_token_goes_out_while_the_model_still_writes() -> None:
    rest = asyncio.Event()
    stream = generate(ScriptedModel("First", rest, " second"), window_seconds=60).run(REQUEST)
    assert await anext(stream) == Token("First")
    rest.set()
    assert await anext(stream) == Token(" second")
    await stream.aclose()


async def test_closing_the_answer_stops_the_model() -> None:
    model = ScriptedModel("First", asyncio.Event())
    async with aclosing(generate(model).run(REQUEST)) as stream:
        await anext(stream)
    assert model.closed


@pytest.mark.parametrize("first", ["First", ""])
async def test_cancelling_the_reader_stops_the_model(first: str) -> None:
    started = asyncio.Event()
    model = ScriptedModel(*([first] if first else []), started.set, asyncio.Event())
    reading = asyncio.create_task(events_of(generate(model)))
    await started.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert model.closed


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (AnswerRequest(" \n", PASSAGES), "question"),
        (AnswerRequest("q", PASSAGES[1:]), "sources[0].number"),
        (AnswerRequest("q", (PASSAGES[0], PASSAGES[0])), "sources[1].number"),
        (AnswerRequest("q", PASSAGES, max_tokens=-1), "max_tokens"),
        (AnswerRequest("q", PASSAGES, max_tokens=4097), "max_tokens"),
    ],
)
async def test_a_wrong_request_names_its_field_and_calls_no_model(request_: AnswerRequest, field: str) -> None:
    model = ScriptedModel("x")
    with pytest.raises(InvalidArgument) as caught:
        await events_of(generate(model), request_)
    assert caught.value.violations[0].field == field
    assert model.requests == []
