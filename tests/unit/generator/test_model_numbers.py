"""What answers leave in the numbers: the real SDK against the scripted server, behind the servicer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from ragmesh.common.v1 import answer_pb2, search_pb2
from ragmesh.generator.v1 import generator_pb2
from ragmesh_backends.llms.extractive import ExtractiveAnswerer
from ragmesh_backends.llms.openai_chat import OpenAIChat
from ragmesh_backends.model.token_estimate import TokenEstimate
from ragmesh_generator.adapters.measured_model import MeasuredModel
from ragmesh_generator.domain.generate import Generate
from ragmesh_generator.domain.prompt import PromptBuilder
from ragmesh_generator.server.servicer import GeneratorServicer
from ragmesh_servicekit.errors import Unavailable
from support.moved import Moved
from support.openai_server import OpenAIServer, Script

TEXT = "The moon pulls on the sea. That pull makes two tides a day."
HIT = search_pb2.Hit(chunk_id="c1", document_id="d1", title="Tides", text=TEXT)
REQUEST = generator_pb2.GenerateRequest(
    question="What makes the tides?", sources=[answer_pb2.Source(number=1, hit=HIT)]
)
STRICT = generator_pb2.GenerateRequest(question=REQUEST.question, sources=REQUEST.sources, strict=True)
NO_CONTEXT: Any = None  # the servicer looks at no call


@pytest.fixture
async def server() -> AsyncIterator[OpenAIServer]:
    async with OpenAIServer() as running:
        yield running


@pytest.fixture
async def servicer(server: OpenAIServer) -> AsyncIterator[GeneratorServicer]:
    model, counter = OpenAIChat(server.base_url, "key", "m", timeout_seconds=5), TokenEstimate()
    generate = Generate(
        MeasuredModel(model),
        prompts=PromptBuilder(counter),
        counter=counter,
        fallback=MeasuredModel(ExtractiveAnswerer()),
    )
    yield GeneratorServicer(generate)
    await model.close()


async def read(servicer: GeneratorServicer, request: generator_pb2.GenerateRequest = REQUEST) -> list[Any]:
    return [reply async for reply in servicer.Generate(request, NO_CONTEXT)]


async def test_an_answer_counts_its_call_time_tokens_and_end(server: OpenAIServer, servicer: GeneratorServicer) -> None:
    server.queue(Script(pieces=("The moon", " [1]", " does", " [7]", ".")))
    moved = Moved()
    replies = await read(servicer)
    (usage,) = [reply.usage for reply in replies if reply.HasField("usage")]
    assert moved.by("ragmesh_model_calls_total", model="m", outcome="ok") == 1
    assert moved.by("ragmesh_model_first_token_seconds_count", model="m") == 1
    assert moved.by("ragmesh_model_seconds_count", model="m") == 1
    assert (
        0
        < moved.by("ragmesh_model_first_token_seconds_sum", model="m")
        <= moved.by("ragmesh_model_seconds_sum", model="m")
    )
    assert moved.by("ragmesh_model_tokens_total", model="m", kind="prompt") == usage.prompt_tokens > 0
    assert moved.by("ragmesh_model_tokens_total", model="m", kind="completion") == usage.completion_tokens > 0
    assert moved.by("ragmesh_generated_answers_total", finish_reason="STOP") == 1
    assert moved.by("ragmesh_dropped_citations_total") == 1


async def test_a_model_that_fails_counts_its_cause_and_the_stand_in(
    server: OpenAIServer, servicer: GeneratorServicer
) -> None:
    server.queue(Script(status=500))
    moved = Moved()
    replies = await read(servicer)
    assert replies[0].HasField("degraded")
    failed = _outcomes(moved, "m")
    assert sum(failed.values()) == 1
    assert "ok" not in failed
    (cause,) = failed
    assert moved.by("ragmesh_stand_in_answers_total", cause=cause) == 1
    assert moved.by("ragmesh_model_calls_total", model=ExtractiveAnswerer().name, outcome="ok") == 1
    assert moved.by("ragmesh_model_first_token_seconds_count", model="m") == 0
    assert moved.by("ragmesh_model_seconds_count", model="m") == 1


async def test_a_strict_request_has_no_stand_in_to_count(server: OpenAIServer, servicer: GeneratorServicer) -> None:
    server.queue(Script(reset_after=0))
    moved = Moved()
    with pytest.raises(Unavailable):
        await read(servicer, STRICT)
    assert sum(_outcomes(moved, "m").values()) == 1
    assert moved.by("ragmesh_model_calls_total", model=ExtractiveAnswerer().name, outcome="ok") == 0


@pytest.mark.parametrize("status", [418, 477, 499])
async def test_a_status_that_nobody_expects_makes_no_series_of_its_own(
    server: OpenAIServer, servicer: GeneratorServicer, status: int
) -> None:
    server.queue(Script(status=status))
    moved = Moved()
    await read(servicer)
    assert moved.by("ragmesh_model_calls_total", model="m", outcome="status_4xx") == 1
    assert moved.by("ragmesh_stand_in_answers_total", cause="status_4xx") == 1


async def test_a_reader_that_leaves_stops_the_call_and_it_is_no_failure(
    server: OpenAIServer, servicer: GeneratorServicer
) -> None:
    server.queue(Script(pieces=("The moon ", "does. ") * 50, piece_delay_seconds=0.01))
    moved = Moved()
    replies: Any = servicer.Generate(REQUEST, NO_CONTEXT)
    async with aclosing(replies):
        assert (await anext(replies)).HasField("token")
    assert _outcomes(moved, "m") == {"stopped": 1}
    assert moved.by("ragmesh_generated_answers_total", finish_reason="STOP") == 0


def _outcomes(moved: Moved, model: str) -> dict[str, float]:
    return {
        labels["outcome"]: count
        for labels, count in moved.series("ragmesh_model_calls_total")
        if labels["model"] == model
    }
