"""The guard: its bounds, its places, what it reports, and how a process makes one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator

import pytest
from prometheus_client import REGISTRY

from ragmesh_servicekit import deadline
from ragmesh_servicekit.errors import DeadlineExceeded, MeshError, Reason, Unavailable
from ragmesh_servicekit.process import Process
from ragmesh_servicekit.process_settings import (
    AdminSettings,
    BreakerSettings,
    IdentitySettings,
    ProcessSettings,
    ServerSettings,
    TelemetrySettings,
)
from ragmesh_servicekit.resilience.breaker import AsyncBreaker
from ragmesh_servicekit.resilience.endpoint import endpoint_of
from ragmesh_servicekit.resilience.guard import Guard
from ragmesh_servicekit.status import PUSHBACK_KEY, trailing_metadata


def process(breaker: BreakerSettings | None = None) -> Process:
    settings = ProcessSettings(
        ServerSettings(), AdminSettings(), TelemetrySettings(), IdentitySettings(""), breaker or BreakerSettings()
    )
    return Process("retriever", settings, grpc_port=0)


async def test_a_cap_and_a_deadline_bound_the_call() -> None:
    guard = Guard("vectors")
    with pytest.raises(Unavailable) as caught:
        async with guard.call(0.01):
            await asyncio.Event().wait()
    assert caught.value.metadata == {"dependency": "vectors", "cause": "timeout"}
    with deadline.scope(0.01), pytest.raises(DeadlineExceeded):
        async with guard.call(5.0):
            await asyncio.Event().wait()


async def test_more_calls_than_places_wait_a_bounded_time_and_are_then_refused_as_overload() -> None:
    guard = Guard("vectors", "places", max_concurrent=2, wait_seconds=0.02)
    release = asyncio.Event()

    async def one() -> None:
        async with guard.call(5.0):
            await release.wait()

    async with asyncio.TaskGroup() as group:
        group.create_task(one())
        group.create_task(one())
        await asyncio.sleep(0)
        with pytest.raises(Unavailable) as caught:
            await one()
        assert caught.value.reason is Reason.OVERLOADED
        with deadline.scope(0.005), pytest.raises(DeadlineExceeded):
            await one()
        async with guard.call(5.0, probe=True):  # a health check takes no place
            pass
        async with guard.call(5.0, waits_seconds=1.0):  # nor does a blocking read
            pass
        release.set()
    await one()
    refused = {"dependency": "vectors", "endpoint": "places", "cause": "bulkhead"}
    assert REGISTRY.get_sample_value("ragmesh_refused_dependency_calls_total", refused) == 1.0


async def test_a_cancelled_wait_for_a_place_takes_none() -> None:
    guard = Guard("vectors", max_concurrent=1)
    for _ in range(10):
        async with guard.call(5.0):
            task = asyncio.create_task(_enter(guard))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    await _enter(guard)


async def _enter(guard: Guard) -> None:
    async with guard.call(5.0):
        pass


async def test_what_becomes_of_calls_is_counted() -> None:
    guard = Guard("counted")
    outcomes: list[tuple[MeshError | None, str]] = [
        (None, "ok"),
        (Unavailable("x"), "failed"),
        (DeadlineExceeded("x"), "deadline"),
        (Unavailable("x", reason=Reason.OVERLOADED), "refused"),
    ]
    for error, outcome in outcomes:
        with contextlib.suppress(MeshError):
            async with guard.call(5.0):
                if error is not None:
                    raise error
        labels = {"dependency": "counted", "outcome": outcome}
        assert REGISTRY.get_sample_value("ragmesh_dependency_calls_total", labels) == 1.0
    assert REGISTRY.get_sample_value("ragmesh_dependency_seconds_count", {"dependency": "counted"}) == 4.0


async def test_a_stream_is_judged_by_its_beginning_and_its_end_and_not_by_a_reader_that_leaves() -> None:
    breaker = AsyncBreaker("model")
    guard = Guard("model", breaker=breaker)

    async def stream(fail: bool) -> AsyncGenerator[int, None]:
        async with guard.watched(5.0) as answering:
            for number in range(3):
                answering.answered()
                yield number
            if fail:
                raise Unavailable("cut")

    for _ in range(20):
        async with contextlib.aclosing(stream(fail=True)) as numbers:
            async for _ in numbers:
                break
    assert breaker.state == "closed"
    for _ in range(5):
        with pytest.raises(Unavailable):
            assert [number async for number in stream(fail=True)]
    assert breaker.state == "open"


async def test_a_process_makes_guards_by_its_settings_and_reports_their_breakers() -> None:
    one = process(BreakerSettings(failures=2, open_seconds=7.0, successes=1))
    state = one.guard("state", "redis://user:secret@host:6379/0?x=1")
    assert one.guard("records", "sqlite:/home/records.db").breaker is None
    assert one.guard("blobs", "file:/home/blobs").breaker is None
    for _ in range(2):
        with pytest.raises(Unavailable):
            async with state.call(1.0):
                raise Unavailable("down")
    assert one.health.report()["breakers"] == [{"dependency": "state", "endpoint": "host:6379/0", "state": "open"}]
    assert state.breaker is not None
    assert 6.2 < state.breaker.retry_after_seconds < 7.8
    labels = {"dependency": "state", "endpoint": "host:6379/0"}
    assert REGISTRY.get_sample_value("ragmesh_breaker_state", labels) == 2.0
    assert REGISTRY.get_sample_value("ragmesh_breaker_changes_total", {**labels, "state": "open"}) == 1.0


async def test_an_open_breaker_does_not_keep_the_channel_from_another_replica() -> None:
    refusal = Unavailable("x", retry_after_seconds=28.0)
    assert PUSHBACK_KEY not in dict(trailing_metadata(refusal))
    overload = Unavailable("x", reason=Reason.OVERLOADED, retry_after_seconds=0.5)
    assert dict(trailing_metadata(overload))[PUSHBACK_KEY] == "500"


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("redis://u:p@host:6379/0?password=p", "host:6379/0"),
        ("unix:///run/redis.sock?db=1", "unix:/run/redis.sock"),
        ("unix:/run/milvus.sock", "unix:/run/milvus.sock"),
        ("host:19530", "host:19530"),
        ("https://api.example/v1/", "api.example/v1"),
        ("s3://bucket/prefix", "bucket/prefix"),
        ("", ""),
    ],
)
def test_an_endpoint_has_no_secret(url: str, endpoint: str) -> None:
    assert endpoint_of(url) == endpoint
