"""The breaker of a model: what opens it, and that an open one costs no call and leaves the stand-in its place."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from ragmesh_backends.llms.openai_chat import OpenAIChat
from ragmesh_backends.model.generation import Finished, Message, ModelEvent, ModelRequest
from ragmesh_servicekit.errors import MeshError, Reason, Unavailable
from ragmesh_servicekit.resilience.breaker import AsyncBreaker
from ragmesh_servicekit.resilience.guard import Guard
from support.openai_server import OpenAIServer, Script

REQUEST = ModelRequest("What is it?", (), (Message("user", "What is it?"),), 100)


@pytest.fixture
async def server() -> AsyncIterator[OpenAIServer]:
    async with OpenAIServer() as running:
        yield running


@pytest.fixture
def breaker() -> AsyncBreaker:
    return AsyncBreaker("model", "test")


@pytest.fixture
async def chat(server: OpenAIServer, breaker: AsyncBreaker) -> AsyncIterator[OpenAIChat]:
    guard = Guard("model", "test", breaker=breaker, max_concurrent=1, wait_seconds=0.05)
    made = OpenAIChat(
        server.base_url, "k", "m", first_token_timeout_seconds=0.2, stall_timeout_seconds=0.1, guard=guard
    )
    yield made
    await made.close()


async def collect(chat: OpenAIChat) -> list[ModelEvent]:
    return [event async for event in chat.stream(REQUEST)]


async def failure(chat: OpenAIChat) -> MeshError:
    with pytest.raises(MeshError) as caught:
        await collect(chat)
    return caught.value


@pytest.mark.parametrize(
    "script",
    [
        Script(status=500),
        Script(status=429, headers={"retry-after": "7"}),
        Script(stall_after=0),
        Script(stall_after=2),
        Script(reset_after=1),
        Script(malformed_after=1),
    ],
    ids=["500", "429", "no first token", "stall", "reset", "malformed"],
)
async def test_a_model_that_fails_is_left_alone_and_says_so_in_the_words_of_a_model(
    script: Script, server: OpenAIServer, chat: OpenAIChat, breaker: AsyncBreaker
) -> None:
    for _ in range(5):
        server.queue(script)
        await failure(chat)
    error = await failure(chat)
    assert isinstance(error, Unavailable)
    assert (error.reason, error.metadata) == (
        Reason.MODEL_UNAVAILABLE,  # what the stand-in waits for
        {"dependency": "model", "cause": "breaker_open"},
    )
    assert error.retry_after_seconds is not None
    assert 25.0 < error.retry_after_seconds <= 33.0
    assert len(server.requests) == 5


@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_wrong_settings_do_not_open_it_and_are_named_each_time(
    status: int, server: OpenAIServer, chat: OpenAIChat, breaker: AsyncBreaker
) -> None:
    for _ in range(10):
        server.queue(Script(status=status))
        assert (await failure(chat)).metadata["cause"] != "breaker_open"
    assert breaker.state == "closed"


async def test_readers_that_leave_do_not_open_it(server: OpenAIServer, chat: OpenAIChat, breaker: AsyncBreaker) -> None:
    for _ in range(20):
        stream = chat.stream(REQUEST)
        await anext(stream)
        await stream.aclose()
    assert breaker.state == "closed"
    assert isinstance((await collect(chat))[-1], Finished)


async def test_too_many_answers_at_once_are_refused_as_the_models_and_are_no_failure(
    server: OpenAIServer, chat: OpenAIChat, breaker: AsyncBreaker
) -> None:
    first = chat.stream(REQUEST)
    await anext(first)
    for _ in range(6):
        error = await failure(chat)
        assert (error.reason, error.metadata["cause"]) == (Reason.MODEL_UNAVAILABLE, "overloaded")
    await first.aclose()
    assert breaker.state == "closed"
    await collect(chat)
