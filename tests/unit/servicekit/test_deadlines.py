"""The deadline of the request in hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from ragmesh_servicekit import deadline, identity
from ragmesh_servicekit.errors import DeadlineExceeded, Unavailable
from ragmesh_servicekit.identity import Identity


def test_without_a_scope_there_is_none_and_a_cap_stands() -> None:
    assert deadline.remaining() is None
    assert deadline.within(3) == 3


def test_the_earlier_of_two_deadlines_is_in_force() -> None:
    with deadline.scope(1):
        with deadline.scope(10):
            assert deadline.within(5) <= 1
        with deadline.scope(0.5):
            assert deadline.within(5) <= 0.5
        with deadline.scope(None):
            assert deadline.within(5) <= 1
        assert 0.5 < deadline.within(5) <= 1
    assert deadline.remaining() is None


def test_what_is_left_is_never_negative() -> None:
    with deadline.scope(-5):
        assert deadline.remaining() == 0
        assert deadline.within(1) == 0


async def test_a_dependency_that_is_too_slow_is_unavailable_by_name() -> None:
    with deadline.scope(10), pytest.raises(Unavailable, match="the vectors store does not answer") as caught:
        async with deadline.dependency("vectors", 0.01):
            await asyncio.Event().wait()
    assert caught.value.metadata == {"dependency": "vectors", "cause": "timeout"}


async def test_a_request_that_ran_out_is_not_blamed_on_the_dependency() -> None:
    with deadline.scope(0.01), pytest.raises(DeadlineExceeded):
        async with deadline.dependency("vectors", 10):
            await asyncio.Event().wait()


async def test_a_time_out_of_the_driver_is_blamed_on_the_dependency() -> None:
    with deadline.scope(1), pytest.raises(Unavailable):
        async with deadline.dependency("vectors", 10):
            raise TimeoutError("the driver's own")


async def test_cancellation_passes_through() -> None:
    async def work() -> None:
        async with deadline.dependency("vectors", 10):
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_generator_may_be_ended_by_another_task_than_began_it() -> None:
    async def work() -> AsyncIterator[int]:
        with identity.acting_as(Identity("acme", "anna")), deadline.scope(5):
            yield 1
            yield 2

    replies = work()

    async def read() -> int | None:
        return await anext(replies, None)

    assert [await asyncio.create_task(read()) for _ in range(3)] == [1, 2, None]
    assert deadline.remaining() is None
    assert identity.current.get() is None
