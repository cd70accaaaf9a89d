"""The scripted server as a process of its own, steered by model names, as the end-to-end tests use it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import support.openai_server as scripted
from ragmesh_backends.llms.openai_chat import OpenAIChat
from ragmesh_backends.model.generation import Finished, FinishReason, Message, ModelEvent, ModelRequest, TextDelta
from ragmesh_servicekit.errors import MeshError

REQUEST = ModelRequest("q", (), (Message("user", "Say this back"),), max_tokens=50)


@pytest.fixture
async def port() -> AsyncIterator[int]:
    script = str(Path(scripted.__file__))
    process = await asyncio.create_subprocess_exec(
        sys.executable, script, "--port", "0", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(10):
        yield int(await process.stdout.readline())
    process.terminate()
    await process.wait()


async def ask(port: int, model: str) -> list[ModelEvent]:
    chat = OpenAIChat(f"http://127.0.0.1:{port}/v1", "key", model, stall_timeout_seconds=0.1)
    try:
        return [event async for event in chat.stream(REQUEST)]
    finally:
        await chat.close()


async def test_model_names_choose_the_behaviour_of_a_server_process(port: int) -> None:
    echo = await ask(port, "scripted-echo")
    assert "".join(e.text for e in echo if isinstance(e, TextDelta)) == "Say this back [1]"
    finished = (await ask(port, "length"))[-1]
    assert isinstance(finished, Finished)
    assert finished.reason is FinishReason.LENGTH
    causes = {}
    for model in ("status-429", "reset-after-2", "stall-after-3", "context-length", "cut-after-1", "error-after-0"):
        with pytest.raises(MeshError) as caught:
            await ask(port, model)
        causes[model] = caught.value.metadata["cause"]
    assert causes == {
        "status-429": "rate_limit",
        "reset-after-2": "connection",
        "stall-after-3": "stall",
        "context-length": "context_length",
        "cut-after-1": "cut",
        "error-after-0": "provider_error",
    }
