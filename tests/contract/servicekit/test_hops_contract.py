"""What travels from hop to hop: the deadline less a margin, the identity, cancellation and one trace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import grpc.aio
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from ragmesh_servicekit import deadline, identity
from ragmesh_servicekit.channel import MARGIN_SECONDS
from ragmesh_servicekit.errors import DeadlineExceeded, NotFound
from ragmesh_servicekit.identity import Identity
from ragmesh_servicekit.status import error_of_call
from ragmesh_servicekit.telemetry import tracing
from ragmesh_servicekit.telemetry.setup import configure_tracing
from ragmesh_servicekit.tokens import METADATA_KEY, TokenMinter
from support.mesh_server import KEYS, SERVICE, Handlers, Mesh, mesh_server
from support.otlp_receiver import OtlpReceiver, ReceivedSpan, ancestors, otlp_receiver

ANNA = Identity("acme", "anna", ("staff",), frozenset({"query"}), "r-1")


class Inner:
    """The second hop: says what reached it, or fails, or hangs."""

    def __init__(self, fail: Exception | None = None, hang: bool = False) -> None:
        self.fail = fail
        self.hang = hang
        self.seconds: float | None = None
        self.caller: Identity | None = None
        self.started = asyncio.Event()
        self.ended = asyncio.Event()

    async def __call__(self) -> None:
        self.seconds, self.caller = deadline.remaining(), identity.current.get()
        self.started.set()
        try:
            if self.fail:
                raise self.fail
            if self.hang:
                await asyncio.Event().wait()
        finally:
            self.ended.set()

    def handlers(self) -> Handlers:
        async def unary(request: bytes, context: Any) -> bytes:
            await self()
            return request

        async def many(request: bytes, context: Any) -> AsyncIterator[bytes]:
            yield request
            await self()

        return Handlers(unary=unary, many=many)


@asynccontextmanager
async def two_hops(inner: Inner, default_seconds: float = 60.0) -> AsyncIterator[Mesh]:
    """A server `outer` that calls a server `inner`."""
    async with mesh_server(inner.handlers(), role="inner") as second:

        async def unary(request: bytes, context: Any) -> bytes:
            with tracing.span("store"):
                pass
            return bytes(await second.unary(request))

        async def many(request: bytes, context: Any) -> AsyncIterator[bytes]:
            async with aclosing(second.many(request)) as replies:
                async for reply in replies:
                    yield reply

        async with mesh_server(
            Handlers(unary=unary, many=many), role="outer", default_seconds=default_seconds
        ) as first:
            yield first


@pytest.fixture(autouse=True)
def anna() -> Iterator[None]:
    with identity.acting_as(ANNA):
        yield


async def test_each_hop_has_a_margin_less_time_and_the_same_caller() -> None:
    inner = Inner()
    async with two_hops(inner) as mesh:
        with deadline.scope(5):
            await mesh.unary(b"")
    assert inner.seconds is not None
    assert 4 < inner.seconds < 5 - MARGIN_SECONDS
    assert inner.caller == ANNA


async def test_a_call_without_a_deadline_gets_the_servers() -> None:
    inner = Inner()
    async with two_hops(inner, default_seconds=7) as mesh:
        await _without_deadline(mesh, "outer")
    assert inner.seconds is not None
    assert 6 < inner.seconds < 7  # the wire has 10 ms for the finest unit of it


async def test_the_servers_own_deadline_ends_a_handler_that_hangs() -> None:
    inner = Inner(hang=True)
    async with mesh_server(inner.handlers(), role="inner", default_seconds=0.1) as mesh:
        with pytest.raises(DeadlineExceeded):
            await _without_deadline(mesh, "inner")
        assert inner.ended.is_set()


async def _without_deadline(mesh: Mesh, role: str) -> None:
    """A call as no channel of ours makes it."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{mesh.port}") as stranger:
        token = TokenMinter(KEYS).mint(ANNA, role)
        try:
            await cast(Any, stranger).unary_unary(f"/{SERVICE}/Unary")(b"", metadata=((METADATA_KEY, token),))
        except grpc.aio.AioRpcError as error:
            raise error_of_call(error) from error


async def test_a_deadline_that_has_passed_makes_no_call() -> None:
    inner = Inner()
    async with two_hops(inner) as mesh:
        with deadline.scope(MARGIN_SECONDS / 2), pytest.raises(DeadlineExceeded):
            await mesh.unary(b"")
    assert inner.seconds is None


@pytest.mark.parametrize("arity", ["unary", "many"])
async def test_a_client_that_goes_away_ends_the_work_two_hops_on(arity: str) -> None:
    inner = Inner(hang=True)
    async with two_hops(inner) as mesh:
        client = asyncio.create_task(_read(mesh, arity))
        await inner.started.wait()
        client.cancel()
        async with asyncio.timeout(0.5):
            await inner.ended.wait()
        await asyncio.gather(client, return_exceptions=True)


async def _read(mesh: Mesh, arity: str) -> None:
    if arity == "unary":
        await mesh.unary(b"")
    else:
        async for _ in mesh.many(b""):
            pass


@dataclass(frozen=True, slots=True)
class Traced:
    receiver: OtlpReceiver
    provider: TracerProvider

    async def wait_for(self, predicate: Callable[[list[ReceivedSpan]], bool]) -> list[ReceivedSpan]:
        flushing = asyncio.create_task(self._flush())
        try:
            return await self.receiver.wait_for(predicate)
        finally:
            flushing.cancel()
            await asyncio.gather(flushing, return_exceptions=True)

    async def _flush(self) -> None:
        while True:  # a server's span ends a moment after its reply has arrived
            await asyncio.to_thread(self.provider.force_flush)
            await asyncio.sleep(0.01)


@pytest.fixture
async def traced(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Traced]:
    """Spans of this process go to a receiver for the length of a test."""
    async with otlp_receiver() as running:
        installed: list[TracerProvider] = []
        monkeypatch.setattr(trace, "set_tracer_provider", installed.append)  # opentelemetry lets it be set only once
        provider = configure_tracing("test", "test-1", running.endpoint, 1.0)
        assert installed == [provider]
        assert provider is not None
        monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
        yield Traced(running, provider)
        await asyncio.to_thread(provider.shutdown)


@pytest.mark.parametrize("ending", ["ok", "error", "cancel"])
@pytest.mark.parametrize("arity", ["unary", "many"])
async def test_two_hops_are_one_trace_however_they_end(traced: Traced, arity: str, ending: str) -> None:
    inner = Inner(fail=NotFound("gone") if ending == "error" else None, hang=ending == "cancel")
    async with two_hops(inner) as mesh:
        client = asyncio.create_task(_read(mesh, arity))
        await inner.started.wait()
        if ending == "cancel":
            client.cancel()
        await asyncio.gather(client, return_exceptions=True)
    spans = await traced.wait_for(lambda spans: sum(s.name.startswith(SERVICE) for s in spans) == 4)
    assert len({span.trace_id for span in spans}) == 1
    (leaf,) = [span for span in spans if span.kind == "SERVER" and len(ancestors(span, spans)) == 3]
    line = [leaf, *ancestors(leaf, spans)]
    assert [span.kind for span in line] == ["SERVER", "CLIENT", "SERVER", "CLIENT"]
    assert line[-1].parent_id == ""
    expected = {"ok": "UNSET", "error": "ERROR", "cancel": "UNSET"}[ending]
    assert {span.status for span in line} == {expected}
    code = {"ok": "OK", "error": "NOT_FOUND", "cancel": "CANCELLED"}[ending]
    assert {span.attributes["rpc.response.status_code"] for span in line} == {code}


async def test_what_a_handler_does_is_below_its_span(traced: Traced) -> None:
    async with two_hops(Inner()) as mesh:
        await mesh.unary(b"")
    spans = await traced.wait_for(lambda spans: len(spans) == 5)
    (store,) = [span for span in spans if span.name == "store"]
    assert [span.kind for span in ancestors(store, spans)] == ["SERVER", "CLIENT"]
    assert {span.service for span in spans} == {"ragmesh-test"}
