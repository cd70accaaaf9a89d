"""What every chat model promises: pieces in order, then exactly one Finished; citation marks that name only what was
supplied; nothing left behind when the reader leaves."""

from __future__ import annotations

import asyncio
import gc
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

import pytest

from ragmesh_backends.llms.extractive import ExtractiveAnswerer
from ragmesh_backends.llms.openai_chat import OpenAIChat
from ragmesh_backends.model.generation import (
    Finished,
    Message,
    ModelEvent,
    ModelRequest,
    Passage,
    TextDelta,
)
from support.openai_server import OpenAIServer, Script

PASSAGES = (
    Passage(1, "c1", "Tides", "The moon pulls on the sea. That pull makes two tides a day. Ships wait for them."),
    Passage(2, "c2", "Salt", "Rivers carry salt into the sea. Water leaves by evaporation, the salt stays."),
)
REQUEST = ModelRequest(
    "What makes the tides?",
    PASSAGES,
    (Message("system", "Answer from the sources."), Message("user", "What makes the tides?")),
    max_tokens=200,
)
SCRIPT = Script(pieces=("The moon's", " pull", " makes", " two tides", " a day. [1]"))


class Model(Protocol):
    @property
    def name(self) -> str: ...

    def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]: ...

    async def close(self) -> None: ...


@asynccontextmanager
async def openai_chat() -> AsyncIterator[Model]:
    async with OpenAIServer() as server:
        server.queue(*[SCRIPT] * 10)
        model = OpenAIChat(server.base_url, "key", "scripted")
        try:
            yield model
        finally:
            await model.close()


@asynccontextmanager
async def extractive() -> AsyncIterator[Model]:
    yield ExtractiveAnswerer()


ADAPTERS: tuple[Callable[[], AbstractAsyncContextManager[Model]], ...] = (openai_chat, extractive)


@pytest.fixture(params=ADAPTERS, ids=lambda adapter: adapter.__name__)
async def model(request: pytest.FixtureRequest) -> AsyncIterator[Model]:
    async with request.param() as adapter:
        yield adapter


async def collect(model: Model, request: ModelRequest = REQUEST) -> list[ModelEvent]:
    return [event async for event in model.stream(request)]


async def test_an_answer_is_pieces_of_text_and_one_finish_at_the_end(model: Model) -> None:
    events = await collect(model)
    assert [type(e) for e in events] == [TextDelta] * (len(events) - 1) + [Finished]
    assert len(events) > 2


async def test_no_piece_is_empty(model: Model) -> None:
    assert all(e.text for e in await collect(model) if isinstance(e, TextDelta))


async def test_every_mark_names_a_supplied_passage(model: Model) -> None:
    text = "".join(e.text for e in await collect(model) if isinstance(e, TextDelta))
    marks = re.findall(r"\[(\d+)\]", text)
    assert marks
    assert {int(m) for m in marks} <= {p.number for p in PASSAGES}


async def test_usage_names_the_model_and_counts_something(model: Model) -> None:
    finished = (await collect(model))[-1]
    assert isinstance(finished, Finished)
    assert finished.usage.model == model.name
    assert finished.usage.prompt_tokens > 0
    assert finished.usage.completion_tokens > 0


async def test_the_same_request_gives_the_same_answer(model: Model) -> None:
    assert await collect(model) == await collect(model)


async def test_the_first_piece_is_there_before_the_last_is_made(model: Model) -> None:
    stream = model.stream(REQUEST)
    first = await anext(stream)
    assert isinstance(first, TextDelta)
    assert first.text != "".join(e.text for e in await collect(model) if isinstance(e, TextDelta))
    await stream.aclose()


async def test_a_reader_that_leaves_early_leaves_no_task_behind(model: Model) -> None:
    before = asyncio.all_tasks()
    stream = model.stream(REQUEST)
    await anext(stream)
    await stream.aclose()
    del stream
    gc.collect()
    for _ in range(100):  # the end of a connection takes a few turns of the loop
        await asyncio.sleep(0)
    assert not {t for t in asyncio.all_tasks() - before if not t.get_name().startswith("openai_server.")}


async def test_requests_at_the_same_time_do_not_mix(model: Model) -> None:
    alone = await collect(model)
    assert await asyncio.gather(*(collect(model) for _ in range(5))) == [alone] * 5
