"""Two ways to one peer: real servers behind each, counted calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2_grpc

from ragmesh_servicekit import identity
from ragmesh_servicekit.channel import MeshChannel, open_channel
from ragmesh_servicekit.channel_options import channel_options, service_config
from ragmesh_servicekit.connections import Connections
from ragmesh_servicekit.errors import Unavailable
from ragmesh_servicekit.fallback import Fallback
from ragmesh_servicekit.health import Health
from ragmesh_servicekit.identity import Identity
from ragmesh_servicekit.resilience import hedge
from ragmesh_servicekit.tokens import TokenMinter
from support.mesh_server import KEYS, SERVICE, Handlers, mesh_server

UNARY, MANY = f"/{SERVICE}/Unary", f"/{SERVICE}/Many"
OPTIONS = channel_options(service_config([{"service": SERVICE, "method": "Unary"}]))


class Peer:
    """Answers with its name, unless it has an error to raise or holds what it gets; counts."""

    def __init__(self, name: str) -> None:
        self.name = name.encode()
        self.calls = 0
        self.error: Exception | None = None
        self.holds = False
        self.reached = asyncio.Event()
        self.released = asyncio.Event()

    async def answer(self, request: bytes, context: Any) -> bytes:
        self.calls += 1
        self.reached.set()
        if self.holds:
            await self.released.wait()
        if self.error is not None:
            raise self.error
        return self.name

    async def stream(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield await self.answer(request, context)


class Ways:
    """A channel with a server at the end of each way."""

    def __init__(
        self, both: Fallback, channel: MeshChannel, first: Peer, second: Peer, server: grpc.aio.Server, port: int
    ) -> None:
        self.both, self.channel = both, channel
        self.first, self.second = first, second
        self.server, self.port = server, port

    async def unary(self) -> bytes:
        reply: bytes = await self.channel.unary_unary(UNARY)(b"", timeout=10)
        return reply

    async def many(self) -> list[bytes]:
        return [reply async for reply in self.channel.unary_stream(MANY)(b"", timeout=10)]

    @asynccontextmanager
    async def back(self) -> AsyncIterator[None]:
        """Another server at the end of the first way."""
        server = grpc.aio.server()
        Handlers(unary=self.first.answer).add_to(server)
        assert server.add_insecure_port(f"127.0.0.1:{self.port}") == self.port
        await server.start()
        try:
            yield
        finally:
            await server.stop(None)


def connections(target: str) -> Connections:
    return Connections(grpc.aio.insecure_channel(target, OPTIONS), "test")


@asynccontextmanager
async def two_ways(*, repeatable: bool = True, hedged: bool = False) -> AsyncIterator[Ways]:
    first, second = Peer("first"), Peer("second")
    async with (
        mesh_server(Handlers(unary=first.answer, many=first.stream)) as one,
        mesh_server(Handlers(unary=second.answer, many=second.stream)) as two,
    ):
        both = Fallback(connections(f"127.0.0.1:{one.port}"), connections(f"127.0.0.1:{two.port}"), "test")
        channel = MeshChannel(
            both,
            "test",
            TokenMinter(KEYS),
            hedged=[UNARY] if hedged else [],
            repeatable=[UNARY] if repeatable else [],
        )
        try:
            yield Ways(both, channel, first, second, one.server, one.port)
        finally:
            await channel.close()


@pytest.fixture(autouse=True)
def anna() -> Iterator[None]:
    with identity.acting_as(Identity("acme", "anna")):
        yield


async def test_while_the_first_way_leads_to_somebody_the_second_is_not_taken() -> None:
    async with two_ways() as ways:
        assert await asyncio.gather(*(ways.unary() for _ in range(20))) == [b"first"] * 20
        assert await ways.many() == [b"first"]
        assert ways.second.calls == 0


async def test_when_nobody_is_left_behind_the_first_way_calls_and_streams_take_the_second() -> None:
    async with two_ways() as ways:
        assert await ways.unary() == b"first"
        await ways.server.stop(None)
        assert [await ways.unary() for _ in range(5)] == [b"second"] * 5
        assert await ways.many() == [b"second"]


async def test_somebody_who_is_back_is_called_again() -> None:
    async with two_ways() as ways:
        await ways.server.stop(None)
        assert await ways.unary() == b"second"
        async with ways.back(), asyncio.timeout(10):
            while await ways.unary() != b"first":
                pass


async def test_a_call_that_was_in_flight_on_the_first_way_is_made_again_on_the_second() -> None:
    async with two_ways() as ways:
        ways.first.holds = True
        call = asyncio.create_task(ways.unary())
        await ways.first.reached.wait()
        await ways.server.stop(None)
        assert await call == b"second"


@pytest.mark.parametrize("what", ["stream", "call"])
async def test_neither_a_stream_nor_a_call_that_may_not_be_repeated_is_sent_twice(what: str) -> None:
    async with two_ways(repeatable=False) as ways:
        ways.first.holds = True
        lost = asyncio.ensure_future(ways.many() if what == "stream" else ways.unary())
        await ways.first.reached.wait()
        await ways.server.stop(None)
        with pytest.raises(Unavailable):
            await lost
        assert ways.second.calls == 0


async def test_what_a_peer_refuses_is_not_asked_by_the_other_way() -> None:
    async with two_ways() as ways:
        ways.first.error = Unavailable("busy", retry_after_seconds=-1)
        with pytest.raises(Unavailable, match="busy"):
            await ways.unary()
        assert (ways.first.calls, ways.second.calls) == (1, 0)


async def test_when_neither_way_leads_to_anybody_the_peer_is_named() -> None:
    async with two_ways() as ways:
        await ways.server.stop(None)
        ways.second.error = Unavailable("busy", retry_after_seconds=-1)
        with pytest.raises(Unavailable, match="busy"):
            await ways.unary()
        assert ways.second.calls == 1
    gone = Fallback(connections("127.0.0.1:1"), connections("127.0.0.1:1"), "test")
    channel = MeshChannel(gone, "test", TokenMinter(KEYS), repeatable=[UNARY])
    with pytest.raises(Unavailable, match="the test does not answer"):
        await channel.unary_unary(UNARY)(b"", timeout=10)
    await channel.close()


async def test_what_nobody_else_could_answer_is_not_asked_by_the_other_way_although_the_first_is_lost() -> None:
    async with two_ways() as ways:
        ways.first.error = Unavailable("the store is away", retry_after_seconds=-1)
        ways.first.holds = True
        call = asyncio.create_task(ways.unary())
        await ways.first.reached.wait()
        stopping = asyncio.create_task(ways.server.stop(5))  # what is in flight is answered, nothing else
        async with asyncio.timeout(5):
            while not ways.both.lost():  # noqa: ASYNC110  # a thread of grpc sees it, and tells nobody
                await asyncio.sleep(0)
        ways.first.released.set()
        with pytest.raises(Unavailable, match="the store is away"):
            await call
        assert (ways.first.calls, ways.second.calls) == (1, 0)
        await stopping


async def test_a_channel_that_is_closed_breaks_its_calls_off_and_sends_none_again() -> None:
    async with two_ways() as ways:
        ways.first.holds = True
        call = asyncio.create_task(ways.unary())
        await ways.first.reached.wait()
        await ways.channel.close()
        with pytest.raises(Unavailable, match="broken off"):
            await call
        assert ways.second.calls == 0


async def test_a_late_read_is_not_sent_to_the_one_replica_of_the_second_way_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hedge, "MOST_SECONDS", 0.01)
    async with two_ways(hedged=True) as ways:
        await ways.server.stop(None)
        assert await ways.unary() == b"second"
        ways.second.holds = True
        before = ways.second.calls
        call = asyncio.create_task(ways.unary())
        done, _ = await asyncio.wait([call], timeout=20 * hedge.MOST_SECONDS)
        assert not done
        assert ways.second.calls == before + 1
        call.cancel()


async def test_a_standby_that_was_never_called_is_renewed_without_a_connection() -> None:
    ways = Connections(grpc.aio.insecure_channel("127.0.0.1:1"), "test", standby=True)
    renewed = grpc.aio.insecure_channel("127.0.0.1:1")
    ways.renew(renewed)
    async with asyncio.timeout(5):
        while ways.current.channel is not renewed:  # noqa: ASYNC110  # renewing is a task of its own
            await asyncio.sleep(0)
    assert renewed.get_state() is grpc.ChannelConnectivity.IDLE
    await ways.close()


async def test_somebody_behind_the_second_way_who_drains_is_called_until_the_end() -> None:
    """By the first way somebody else is; behind one address there is nobody else until the connection ends."""
    peer, health = Peer("second"), Health("test")
    server = grpc.aio.server()
    Handlers(unary=peer.answer).add_to(server)
    health_pb2_grpc.add_HealthServicer_to_server(health.servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    await health.drain()
    channel = open_channel("ipv4:127.0.0.1:1", "test", TokenMinter(KEYS), fallback=f"ipv4:127.0.0.1:{port}")
    try:
        with pytest.raises(Unavailable):  # nobody has looked before, and nothing here may be repeated
            await channel.unary_unary(UNARY)(b"", timeout=10)
        assert await channel.unary_unary(UNARY)(b"", timeout=10) == b"second"
    finally:
        await channel.close()
        await server.stop(None)
