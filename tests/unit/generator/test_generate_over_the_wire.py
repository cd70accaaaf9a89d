"""The use case with the real SDK against the scripted server: what the parts promise, together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from ragmesh_backends.llms.extractive import ExtractiveAnswerer
from ragmesh_backends.llms.openai_chat import OpenAIChat
from ragmesh_backends.model.generation import FinishReason, Passage
from ragmesh_backends.model.token_estimate import TokenEstimate
from ragmesh_generator.domain.events import AnswerEvent, AnswerRequest, Citation, Degraded, Done, Token
from ragmesh_generator.domain.generate import Generate
from ragmesh_generator.domain.prompt import PromptBuilder
from ragmesh_servicekit.errors import Unavailable
from ragmesh_servicekit.resilience.breaker import AsyncBreaker, BreakerPolicy
from ragmesh_servicekit.resilience.guard import Guard
from support.openai_server import OpenAIServer, Script
from support.waiting import until

REQUEST = AnswerRequest(
    "What makes the tides?", (Passage(1, "c1", "Tides", "The moon pulls on the sea. That pull makes two tides a day."),)
)


@pytest.fixture
async def server() -> AsyncIterator[OpenAIServer]:
    async with OpenAIServer() as running:
        yield running


@pytest.fixture
async def generate(server: OpenAIServer) -> AsyncIterator[Generate]:
    model = OpenAIChat(
        server.base_url, "key", "m", first_token_timeout_seconds=0.3, stall_timeout_seconds=0.15, timeout_seconds=5
    )
    counter = TokenEstimate()
    yield Generate(model, prompts=PromptBuilder(counter), counter=counter, fallback=ExtractiveAnswerer())
    await model.close()


async def read(generate: Generate) -> list[AnswerEvent]:
    return [event async for event in generate.run(REQUEST)]


async def test_an_answer_of_the_model_arrives_cited(server: OpenAIServer, generate: Generate) -> None:
    server.queue(Script(pieces=("The moon", " does", " [", "1", "]", ".")))
    events = await read(generate)
    assert "".join(e.text for e in events if isinstance(e, Token)) == "The moon does [1]."
    assert Citation(1, "c1", 14, 17) in events
    assert events[-1] == Done(FinishReason.STOP, 1.0)


@pytest.mark.parametrize(
    "script",
    [
        Script(status=500),
        Script(status=401),
        Script(reset_after=0),
        Script(malformed_after=0),
        Script(cut_after=0),
        Script(first_byte_delay_seconds=30),
        Script(pieces=()),
    ],
    ids=["500", "401", "reset", "malformed", "cut", "slow", "empty"],
)
async def test_a_model_that_fails_at_once_is_stood_in_for_after_one_call(
    server: OpenAIServer, generate: Generate, script: Script
) -> None:
    server.queue(script)
    events = await read(generate)
    assert isinstance(events[0], Degraded)
    assert isinstance(events[-1], Done)
    assert events[-1].confidence == 1.0
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "script",
    [Script(reset_after=2), Script(malformed_after=2), Script(cut_after=2), Script(stall_after=2)],
    ids=["reset", "malformed", "cut", "stall"],
)
async def test_a_model_that_fails_later_is_an_error_after_one_call(
    server: OpenAIServer, generate: Generate, script: Script
) -> None:
    server.queue(script)
    with pytest.raises(Unavailable):
        await read(generate)
    assert len(server.requests) == 1


async def test_a_reader_that_goes_away_stops_the_model_within_half_a_second(
    server: OpenAIServer, generate: Generate
) -> None:
    server.queue(Script(pieces=("word ",) * 1000, piece_delay_seconds=0.01))
    stream = generate.run(REQUEST)
    await anext(stream)
    left_at = time.monotonic()
    await stream.aclose()
    async with asyncio.timeout(0.5):
        await server.requests[0].disconnected.wait()
    assert time.monotonic() - left_at < 0.5


async def test_fifty_cancelled_at_any_moment_leave_no_task_and_no_connection(
    server: OpenAIServer, generate: Generate
) -> None:
    server.queue(*[Script(pieces=("word ",) * 30, piece_delay_seconds=0.002)] * 50)
    before = asyncio.all_tasks()
    readers = [asyncio.create_task(read(generate)) for _ in range(50)]
    for turn, reader in enumerate(readers):
        for _ in range(turn):  # ever later: before the call, while connecting, while reading
            await asyncio.sleep(0)
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
    async with asyncio.timeout(2):
        while left := {t for t in asyncio.all_tasks() - before if not t.get_name().startswith("openai_server.")}:
            await asyncio.wait(left)
    async with asyncio.timeout(0.5):
        await asyncio.gather(*(seen.disconnected.wait() for seen in server.requests if not seen.complete))


@pytest.fixture
def breaker() -> AsyncBreaker:
    return AsyncBreaker("model", "test", BreakerPolicy(open_seconds=0.05))


@pytest.fixture
async def guarded(server: OpenAIServer, breaker: AsyncBreaker) -> AsyncIterator[Generate]:
    model = OpenAIChat(server.base_url, "key", "m", guard=Guard("model", "test", breaker=breaker))
    counter = TokenEstimate()
    yield Generate(model, prompts=PromptBuilder(counter), counter=counter, fallback=ExtractiveAnswerer())
    await model.close()


async def test_answers_of_a_model_that_is_back_close_its_breaker(
    server: OpenAIServer, guarded: Generate, breaker: AsyncBreaker
) -> None:
    for _ in range(5):
        server.queue(Script(status=500))
        await read(guarded)
    assert breaker.state == "open"
    await until(lambda: breaker.retry_after_seconds == 0.0)
    for _ in range(2):
        assert not isinstance((await read(guarded))[0], Degraded)
    assert breaker.state == "closed"


async def test_failures_between_answers_are_not_failures_in_a_row(
    server: OpenAIServer, guarded: Generate, breaker: AsyncBreaker
) -> None:
    for _ in range(7):
        await read(guarded)
        server.queue(Script(status=500))
        await read(guarded)
    assert breaker.state == "closed"
