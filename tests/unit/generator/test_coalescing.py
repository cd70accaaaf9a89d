"""Small deltas become fewer pieces without holding anything back for long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from ragmesh_backends.model.generation import Finished, FinishReason, ModelEvent, ModelUsage, TextDelta
from ragmesh_generator.domain.coalesce import coalesced
from ragmesh_servicekit.errors import Unavailable

END = Finished(FinishReason.STOP, ModelUsage("m", 1, 1))


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def source(clock: Clock, *steps: tuple[float, str] | asyncio.Event | Exception) -> AsyncGenerator[ModelEvent]:
    for step in steps:
        if isinstance(step, asyncio.Event):
            await step.wait()
        elif isinstance(step, Exception):
            raise step
        else:
            clock.now += step[0]
            yield TextDelta(step[1])
    yield END


async def pieces(
    clock: Clock, *steps: tuple[float, str] | asyncio.Event | Exception, max_characters: int = 100
) -> list[str]:
    stream = coalesced(source(clock, *steps), window_seconds=0.03, max_characters=max_characters, clock=clock)
    return [e.text if isinstance(e, TextDelta) else "END" async for e in stream]


async def test_the_first_goes_alone_and_a_burst_goes_together() -> None:
    assert await pieces(Clock(), (0, "a"), (0, "b"), (0, "c"), (0, "d")) == ["a", "bcd", "END"]


async def test_a_slow_model_is_not_slowed_down() -> None:
    assert await pieces(Clock(), (0, "a"), (0.05, "b"), (0.05, "c")) == ["a", "b", "c", "END"]


async def test_one_piece_a_window_at_most() -> None:
    steps = [(0.01, c) for c in "abcdefghij"]
    assert await pieces(Clock(), *steps) == ["a", "bcd", "efg", "hij", "END"]


async def test_a_piece_is_never_much_longer_than_its_limit() -> None:
    assert await pieces(Clock(), *[(0, "xxxx")] * 6, max_characters=8) == [
        "xxxx",
        "xxxxxxxx",
        "xxxxxxxx",
        "xxxx",
        "END",
    ]


async def test_nothing_waits_longer_than_the_window_when_the_model_pauses() -> None:
    pause = asyncio.Event()
    clock = Clock()
    stream = coalesced(
        source(clock, (0, "a"), (0, "b"), pause, (0, "c")), window_seconds=0.01, max_characters=100, clock=clock
    )
    async with asyncio.timeout(5):
        assert [await anext(stream), await anext(stream)] == [TextDelta("a"), TextDelta("b")]
    pause.set()
    assert [e async for e in stream] == [TextDelta("c"), END]


async def test_what_came_before_an_error_is_delivered_first() -> None:
    stream = coalesced(
        source(Clock(), (0, "a"), (0, "b"), Unavailable("down")), window_seconds=9, max_characters=100, clock=Clock()
    )
    assert [await anext(stream), await anext(stream)] == [TextDelta("a"), TextDelta("b")]
    with pytest.raises(Unavailable):
        await anext(stream)


async def test_leaving_while_an_error_is_waiting_reports_nothing_to_the_loop() -> None:
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    stream = coalesced(
        source(Clock(), (0, "a"), (0, "b"), Unavailable("down")), window_seconds=9, max_characters=100, clock=Clock()
    )
    await anext(stream)
    await anext(stream)
    await stream.aclose()
    del stream
    assert reported == []
