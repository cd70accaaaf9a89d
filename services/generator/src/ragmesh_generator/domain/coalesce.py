"""Fewer, larger pieces: each message to a client costs, each delta of a model is a few characters.

The first piece goes out at once; after that at most one in a window, and none waits longer than the window even
when the model pauses.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable

from ragmesh_backends.model.generation import Finished, ModelEvent, TextDelta


async def coalesced(
    events: AsyncGenerator[ModelEvent, None],
    *,
    window_seconds: float,
    max_characters: int,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncGenerator[ModelEvent, None]:
    """The same text and the same Finished. Text received before an error is delivered before the error is raised.
    Closing it, or cancelling its reader, closes `events`; it never reads ahead by more than one event."""
    waiting: list[str] = []
    due = float("-inf")
    step: asyncio.Task[ModelEvent | None] | None = None
    try:
        while True:
            step = asyncio.create_task(_next(events), name="generate.next")
            if waiting:
                await asyncio.wait({step}, timeout=max(0.0, due - clock()))
                if not step.done():
                    yield TextDelta("".join(waiting))
                    waiting.clear()
                    due = clock() + window_seconds
            await asyncio.wait({step})
            if waiting and (step.exception() or not isinstance(step.result(), TextDelta)):
                yield TextDelta("".join(waiting))
                waiting.clear()
            event = step.result()
            if event is None:
                return
            if isinstance(event, Finished):
                yield event
                continue
            waiting.append(event.text)
            if clock() >= due or sum(map(len, waiting)) >= max_characters:
                yield TextDelta("".join(waiting))
                waiting.clear()
                due = clock() + window_seconds
    finally:
        if step is not None:
            step.cancel()
            await asyncio.wait({step})
            if not step.cancelled():
                step.exception()  # looked at, so that the loop does not report an error nobody waits for
        await events.aclose()


async def _next(events: AsyncGenerator[ModelEvent, None]) -> ModelEvent | None:
    return await anext(events, None)
