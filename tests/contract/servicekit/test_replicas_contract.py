"""Two replicas behind one channel, of which one hangs, drains or is cut off: real servers, counted calls."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ragmesh_servicekit import deadline, identity
from ragmesh_servicekit.channel import MeshChannel
from ragmesh_servicekit.channel_options import channel_options, service_config
from ragmesh_servicekit.connections import Connections
from ragmesh_servicekit.errors import NotFound, Unavailable
from ragmesh_servicekit.health import Health
from ragmesh_servicekit.identity import Identity
from ragmesh_servicekit.resilience import hedge
from ragmesh_servicekit.tokens import TokenMinter
from support.mesh_server import KEYS, SERVICE, Handlers, mesh_server

UNARY = f"/{SERVICE}/Unary"


class Replica:
    """Answers with its name, unless it hangs or has an error to raise; counts."""

    def __init__(self, name: str) -> None:
        self.name = name.encode()
        self.hangs = False
        self.error: Exception | None = None
        self.calls = 0
        self.cancelled = 0
        self.left = asyncio.Event()
        self.reached = asyncio.Event()

    async def answer(self, request: bytes, context: Any) -> bytes:
        self.calls += 1
        self.reached.set()
        if self.hangs:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                self.left.set()
                raise
        if self.error is not None:
            raise self.error
        return self.name


@pytest.fixture(autouse=True)
def anna() -> Iterator[None]:
    with identity.acting_as(Identity("acme", "anna")):
        yield


@asynccontextmanager
async def two_replicas(*, hedged: bool = True) -> AsyncIterator[tuple[Any, Replica, Replica]]:
    """A caller of `Unary`, and the replicas behind it."""
    one, two = Replica("one"), Replica("two")
    async with AsyncExitStack() as stack:
        ports = [
            (await stack.enter_async_context(mesh_server(Handlers(unary=replica.answer)))).port
            for replica in (one, two)
        ]
        target = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)
        config = service_config([{"service": SERVICE, "method": "Unary"}])
        channel = MeshChannel(
            Connections(grpc.aio.insecure_channel(target, channel_options(config)), "test"),
            "test",
            TokenMinter(KEYS),
            hedged=[UNARY] if hedged else [],
        )
        stack.push_async_callback(channel.close)
        call = channel.unary_unary(UNARY)
        while not (one.calls and two.calls):  # both are connected
            await call(b"")
        yield call, one, two


async def test_a_read_that_a_hung_replica_holds_is_answered_by_the_other() -> None:
    async with two_replicas() as (call, one, _):
        one.hangs = True
        before = one.calls
        while one.calls == before:
            started = time.monotonic()
            assert await call(b"") == b"two"
        assert time.monotonic() - started < 3 * hedge.MOST_SECONDS + 1
        async with asyncio.timeout(5):
            await one.left.wait()


async def test_a_hung_replica_is_left_alone_within_seconds_and_asked_again_later() -> None:
    async with two_replicas() as (call, one, _):
        for _ in range(hedge.REMEMBERED):
            await call(b"")
        one.hangs = True
        give_up = time.monotonic() + 10
        asked = 1
        while asked:  # of a round of calls: the hung one is in no round any more
            before = one.calls
            assert set(await asyncio.gather(*(call(b"") for _ in range(8)))) == {b"two"}
            asked = one.calls - before
            assert time.monotonic() < give_up
        one.hangs = False
        while await call(b"") != b"one":
            assert time.monotonic() < give_up + 20
            await asyncio.sleep(0.05)  # the ejection ends by grpc's clock


async def test_what_is_not_hedged_waits_for_its_replica() -> None:
    async with two_replicas(hedged=False) as (call, one, two):
        one.hangs, one.reached = True, asyncio.Event()
        tasks = [asyncio.create_task(call(b"")) for _ in range(2)]
        await one.reached.wait()
        done, waiting = await asyncio.wait(tasks, timeout=hedge.MOST_SECONDS + 0.3)
        assert (len(done), len(waiting)) == (1, 1)
        assert one.calls + two.calls >= 4
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_an_error_is_an_answer_and_no_second_replica_is_asked() -> None:
    async with two_replicas() as (call, one, two):
        one.error = two.error = NotFound("no such collection")
        before = one.calls + two.calls
        with pytest.raises(NotFound):
            await call(b"")
        assert one.calls + two.calls == before + 1


async def test_a_caller_that_goes_away_takes_all_requests_with_it() -> None:
    async with two_replicas() as (call, one, two):
        one.hangs = two.hangs = True
        one.reached, two.reached = asyncio.Event(), asyncio.Event()
        waiting = asyncio.create_task(call(b""))
        async with asyncio.timeout(5):
            await asyncio.gather(one.reached.wait(), two.reached.wait())
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        async with asyncio.timeout(5):
            while one.cancelled + two.cancelled < 2:  # noqa: ASYNC110  # the servers hear of it over the wire
                await asyncio.sleep(0.01)


async def test_the_deadline_ends_all_requests() -> None:
    async with two_replicas() as (call, one, two):
        one.hangs = two.hangs = True
        started = time.monotonic()
        with pytest.raises(Exception, match="deadline"), deadline.scope(hedge.MOST_SECONDS + 0.5):
            await call(b"")
        assert time.monotonic() - started < hedge.MOST_SECONDS + 1


async def test_second_requests_are_a_small_share_however_slow_everything_is() -> None:
    made = 0

    async def slow() -> bytes:
        nonlocal made
        made += 1
        await asyncio.sleep(0.02)
        return b""

    late = hedge.Hedge("m")
    late._late_after = 0.001
    late._observe = lambda seconds: None  # type: ignore[method-assign]  # everything stays late
    calls = 400
    for start in range(0, calls, 50):
        await asyncio.gather(*(late.run(slow) for _ in range(start, start + 50)))
    assert made <= calls + hedge.BURST + hedge.SHARE * calls


async def test_how_late_is_late_follows_the_answers() -> None:
    late = hedge.Hedge("m")
    assert late.late_after_seconds == hedge.MOST_SECONDS
    for _ in range(hedge.REMEMBERED):
        late._observe(0.12)
    assert late.late_after_seconds == pytest.approx(0.24)
    for _ in range(hedge.REMEMBERED):
        late._observe(0.001)
    assert late.late_after_seconds == hedge.LEAST_SECONDS


async def test_when_all_requests_fail_the_first_error_is_told() -> None:
    late = hedge.Hedge("m")
    late._late_after = 0.001
    errors = iter([Unavailable("the first"), Unavailable("the second")])

    async def failing() -> bytes:
        error = next(errors)
        await asyncio.sleep(0.01)
        raise error

    with pytest.raises(Unavailable, match="the first"):
        await late.run(failing)


async def test_a_draining_replica_is_passed_over_before_it_refuses() -> None:
    """It says NOT_SERVING to whoever watches its health; its calls in flight go on."""
    async with AsyncExitStack() as stack:
        replicas = [Replica("one"), Replica("two")]
        healths = [Health("test"), Health("test")]
        ports = []
        for replica, health in zip(replicas, healths, strict=True):
            server = grpc.aio.server()
            Handlers(unary=replica.answer).add_to(server)
            health_pb2_grpc.add_HealthServicer_to_server(health.servicer, server)
            ports.append(server.add_insecure_port("127.0.0.1:0"))
            await health.set_ready(True)
            await server.start()
            stack.push_async_callback(server.stop, None)
        config = service_config([], health_service="test")
        target = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)
        ways = Connections(grpc.aio.insecure_channel(target, channel_options(config)), "test")
        channel = MeshChannel(ways, "test", TokenMinter(KEYS))
        stack.push_async_callback(channel.close)
        call = channel.unary_unary(UNARY)
        while not all(replica.calls for replica in replicas):
            await call(b"")
        await healths[0].drain()
        told = health_pb2.HealthCheckResponse.ServingStatus.NOT_SERVING
        async with grpc.aio.insecure_channel(f"127.0.0.1:{ports[0]}") as stranger:
            check = health_pb2_grpc.HealthStub(stranger).Check
            assert (await check(health_pb2.HealthCheckRequest(service="test"))).status == told
        give_up = time.monotonic() + 5
        quiet = 0
        while quiet < 20:
            before = replicas[0].calls
            assert await call(b"") in {b"one", b"two"}
            quiet = quiet + 1 if replicas[0].calls == before else 0
            assert time.monotonic() < give_up
        healths[0].servicer.end_watches()
