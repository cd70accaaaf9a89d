"""A chat model whose calls are counted and timed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from ragmesh_backends.model.generation import Finished, ModelEvent, ModelRequest, TextDelta
from ragmesh_generator.domain.ports import ChatModel
from ragmesh_generator.server.counted import cause_word
from ragmesh_servicekit.errors import MeshError
from ragmesh_servicekit.telemetry import metrics


class MeasuredModel:
    """Satisfies domain.ports.ChatModel by another that does, and passes its events and errors on as they are. The
    model's name is the configured one, so it is a label that is bounded."""

    def __init__(self, model: ChatModel) -> None:
        self._model = model
        name = model.name
        self._first = metrics.MODEL_FIRST_TOKEN_SECONDS.labels(name)
        self._seconds = metrics.MODEL_SECONDS.labels(name)
        self._prompt = metrics.MODEL_TOKENS.labels(name, "prompt")
        self._completion = metrics.MODEL_TOKENS.labels(name, "completion")

    @property
    def name(self) -> str:
        return self._model.name

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """See the port."""
        started = time.perf_counter()
        spoken, outcome = False, "error"
        try:
            async with aclosing(self._model.stream(request)) as events:
                async for event in events:
                    match event:
                        case TextDelta() if not spoken:
                            spoken = True
                            self._first.observe(time.perf_counter() - started)
                        case Finished():
                            outcome = "ok"
                            self._prompt.inc(event.usage.prompt_tokens)
                            self._completion.inc(event.usage.completion_tokens)
                    yield event
            outcome = "ok"
        except (asyncio.CancelledError, GeneratorExit):
            outcome = "ok" if outcome == "ok" else "stopped"  # whoever reads leaves after Finished, too
            raise
        except MeshError as error:
            outcome = cause_word(error.metadata.get("cause", error.reason))
            raise
        finally:
            self._seconds.observe(time.perf_counter() - started)
            metrics.MODEL_CALLS.labels(self.name, outcome).inc()
