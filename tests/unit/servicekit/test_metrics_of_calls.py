"""What calls, streams, retries and a busy loop leave in the numbers, over a real server and channel."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from ragmesh_servicekit import identity
from ragmesh_servicekit.errors import NotFound, Reason, Unavailable
from ragmesh_servicekit.identity import Identity
from ragmesh_servicekit.telemetry.event_loop import watch_event_loop
from support.mesh_server import SERVICE, Handlers, mesh_server
from support.moved import Moved, value
from support.waiting import until

UNARY, MANY = f"/{SERVICE}/Unary", f"/{SERVICE}/Many"


@pytest.fixture(autouse=True)
def anna() -> Any:
    with identity.acting_as(Identity("acme", "anna")):
        yield


async def test_a_call_counts_once_on_each_side_with_its_code_and_time() -> None:
    inside: list[float] = []

    async def work(request: bytes, context: Any) -> bytes:
        inside.append(value("ragmesh_server_in_flight", method=UNARY) - before[0])
        inside.append(value("ragmesh_client_in_flight", method=UNARY) - before[1])
        return b"done"

    moved = Moved()
    before = value("ragmesh_server_in_flight", method=UNARY), value("ragmesh_client_in_flight", method=UNARY)
    async with mesh_server(Handlers(unary=work)) as mesh:
        await mesh.unary(b"")
    assert inside == [1, 1]
    for side in ("server", "client"):
        assert moved.by(f"ragmesh_{side}_calls_total", method=UNARY, code="OK") == 1
        assert moved.by(f"ragmesh_{side}_seconds_count", method=UNARY) == 1
        assert moved.by(f"ragmesh_{side}_in_flight", method=UNARY) == 0


async def test_a_failure_counts_under_its_code_and_reason() -> None:
    async def work(request: bytes, context: Any) -> bytes:
        raise NotFound("no", reason=Reason.JOB_NOT_FOUND)

    moved = Moved()
    async with mesh_server(Handlers(unary=work)) as mesh:
        with pytest.raises(NotFound):
            await mesh.unary(b"")
    assert moved.by("ragmesh_server_calls_total", method=UNARY, code="NOT_FOUND") == 1
    assert moved.by("ragmesh_client_calls_total", method=UNARY, code="NOT_FOUND") == 1
    assert moved.by("ragmesh_failed_calls_total", reason="JOB_NOT_FOUND") == 1


async def test_a_stream_tells_when_its_first_reply_came_and_when_it_ended() -> None:
    async def work(request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield b"one"
        await asyncio.sleep(0.05)  # so that the two times differ
        yield b"two"

    moved = Moved()
    async with mesh_server(Handlers(many=work)) as mesh:
        assert [reply async for reply in mesh.many(b"")] == [b"one", b"two"]
    assert moved.by("ragmesh_first_reply_seconds_count", method=MANY) == 1
    assert moved.by("ragmesh_first_reply_seconds_sum", method=MANY) < 0.05
    assert moved.by("ragmesh_server_seconds_sum", method=MANY) >= 0.05


async def test_a_stream_that_its_reader_leaves_is_cancelled_and_not_in_flight_any_more() -> None:
    async def work(request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield b"one"
        await asyncio.Event().wait()

    moved = Moved()
    async with mesh_server(Handlers(many=work)) as mesh:
        async with aclosing(mesh.many(b"")) as replies:
            assert await anext(replies) == b"one"
            assert moved.by("ragmesh_client_in_flight", method=MANY) == 1
        await until(lambda: moved.by("ragmesh_server_calls_total", method=MANY, code="CANCELLED") == 1)
    assert moved.by("ragmesh_client_calls_total", method=MANY, code="CANCELLED") == 1
    assert moved.by("ragmesh_client_in_flight", method=MANY) == 0
    assert moved.by("ragmesh_server_in_flight", method=MANY) == 0


async def test_attempts_after_the_first_count_as_retried() -> None:
    calls = 0

    async def work(request: bytes, context: Any) -> bytes:
        nonlocal calls
        calls += 1
        if calls < 3:
            raise Unavailable("busy")
        return b"done"

    moved = Moved()
    async with mesh_server(Handlers(unary=work), repeatable=["Unary"]) as mesh:
        await mesh.unary(b"")
    assert moved.by("ragmesh_server_retried_calls_total", method=UNARY) == 2
    assert moved.by("ragmesh_server_calls_total", method=UNARY, code="UNAVAILABLE") == 2
    assert moved.by("ragmesh_client_calls_total", method=UNARY, code="OK") == 1


async def test_a_blocked_loop_shows_as_lag() -> None:
    moved = Moved()
    watching = asyncio.create_task(watch_event_loop(0.01), name="lag")
    await asyncio.sleep(0)
    time.sleep(0.2)  # noqa: ASYNC251 - what it is to find
    await until(lambda: moved.by("ragmesh_event_loop_lag_seconds_count") >= 1)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    assert moved.by("ragmesh_event_loop_lag_seconds_sum") >= 0.15
    assert value("ragmesh_event_loop_tasks") >= 1
