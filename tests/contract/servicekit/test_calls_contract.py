"""A call of the mesh, as each of the four arities must behave: a real client against a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import structlog

from ragmesh_servicekit import deadline, identity
from ragmesh_servicekit.errors import (
    Aborted,
    DeadlineExceeded,
    FieldViolation,
    Internal,
    InvalidArgument,
    MeshError,
    Reason,
    Unauthenticated,
    Unavailable,
)
from ragmesh_servicekit.identity import Identity
from support.mesh_server import KEYS, Handlers, Mesh, mesh_server
from support.waiting import until

ANNA = Identity("acme", "anna", ("staff",), frozenset({"query"}), "r-1")
ARITIES = ["unary", "many", "upload", "chat"]


@dataclass
class Work:
    """What a handler does, in whichever arity: replies with what it was sent, after `fail` or `hang` if asked to."""

    fail: Exception | None = None
    hang: bool = False
    calls: int = 0
    started: asyncio.Event = field(default_factory=asyncio.Event)
    cleaned: asyncio.Event = field(default_factory=asyncio.Event)
    seen: Identity | None = None
    had_seconds: float | None = None

    async def run(self) -> None:
        self.calls += 1
        self.seen, self.had_seconds = identity.current.get(), deadline.remaining()
        self.started.set()
        try:
            if self.fail is not None:
                raise self.fail
            if self.hang:
                await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)  # a clean-up that takes a while, with the identity still in place
            assert identity.current.get() == self.seen
            self.cleaned.set()

    def handlers(self) -> Handlers:
        async def unary(request: bytes, context: Any) -> bytes:
            await self.run()
            return request

        async def many(request: bytes, context: Any) -> AsyncIterator[bytes]:
            yield request
            await self.run()
            yield request

        async def upload(requests: AsyncIterator[bytes], context: Any) -> bytes:
            first = await anext(aiter(requests))
            await self.run()
            return first + b"".join([each async for each in requests])

        async def chat(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
            async for request in requests:
                await self.run()
                yield request

        return Handlers(unary, many, upload, chat)


async def two() -> AsyncIterator[bytes]:
    yield b"a"
    yield b"b"


async def call(mesh: Mesh, arity: str, **options: Any) -> bytes:
    """Make the call and put its replies together."""
    if arity == "unary":
        return bytes(await mesh.unary(b"ab", **options))
    if arity == "upload":
        return bytes(await mesh.upload(two(), **options))
    replies = mesh.many(b"ab", **options) if arity == "many" else mesh.chat(two(), **options)
    return b"".join([reply async for reply in replies])


@pytest.fixture(autouse=True)
def anna() -> Any:
    with identity.acting_as(ANNA):
        yield


@pytest.mark.parametrize("arity", ARITIES)
async def test_a_call_is_answered_and_the_handler_knows_who_asks(arity: str) -> None:
    work = Work()
    async with mesh_server(work.handlers()) as mesh:
        assert await call(mesh, arity) == (b"abab" if arity == "many" else b"ab")
        assert len(mesh.registry) == 0
    assert work.seen == ANNA


@pytest.mark.parametrize("arity", ARITIES)
async def test_a_mesh_error_arrives_as_it_was_raised(arity: str) -> None:
    sent = InvalidArgument(
        "the query is wrong",
        violations=[FieldViolation("query", "must not be empty"), FieldViolation("top_k", "must be from 1 to 100")],
        metadata={"limit": "100"},
        retry_after_seconds=1.5,
    )
    async with mesh_server(Work(fail=sent).handlers()) as mesh:
        with pytest.raises(InvalidArgument) as caught:
            await call(mesh, arity)
    got = caught.value
    assert (got.message, got.reason, got.violations) == (sent.message, sent.reason, sent.violations)
    assert (got.metadata, got.retry_after_seconds) == (sent.metadata, 1.5)


@pytest.mark.parametrize("arity", ARITIES)
async def test_an_unexpected_exception_is_internal_and_says_nothing_of_the_inside(arity: str) -> None:
    async with mesh_server(Work(fail=ValueError("secret at /srv/x")).handlers()) as mesh:
        with structlog.testing.capture_logs() as logs, pytest.raises(Internal) as caught:
            await call(mesh, arity)
    assert "secret" not in str(caught.value)
    assert "ValueError" not in str(caught.value)
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["internal_error"]


@pytest.mark.parametrize("arity", ARITIES)
async def test_a_client_that_cancels_ends_the_handler_and_its_clean_up_is_awaited(arity: str) -> None:
    work = Work(hang=True)
    async with mesh_server(work.handlers()) as mesh:
        with structlog.testing.capture_logs() as logs:
            client = asyncio.create_task(call(mesh, arity))
            await work.started.wait()
            client.cancel()
            with pytest.raises(asyncio.CancelledError):
                await client
            assert await mesh.registry.wait(1)
            await until(lambda: bool(logs))
    assert work.cleaned.is_set()
    assert [(line["event"], line["code"]) for line in logs] == [("call", "CANCELLED")]


@pytest.mark.parametrize("arity", ARITIES)
async def test_a_deadline_that_passes_ends_both_sides(arity: str) -> None:
    work = Work(hang=True)
    async with mesh_server(work.handlers()) as mesh:
        with structlog.testing.capture_logs() as logs:
            with pytest.raises(DeadlineExceeded):
                await call(mesh, arity, timeout=0.1)
            await work.cleaned.wait()
            await until(lambda: bool(logs))
    assert [(line["event"], line["code"]) for line in logs] == [("call", "DEADLINE_EXCEEDED")]


@pytest.mark.parametrize("arity", ARITIES)
async def test_a_call_without_a_token_is_refused(arity: str) -> None:
    work = Work()
    async with mesh_server(work.handlers()) as mesh:
        with identity.acting_as(None), pytest.raises(Unauthenticated) as caught:
            await call(mesh, arity)
    assert caught.value.reason is Reason.IDENTITY_MISSING
    assert work.calls == 0


@pytest.mark.parametrize("arity", ARITIES)
async def test_a_token_for_another_service_is_refused(arity: str) -> None:
    work = Work()
    async with mesh_server(work.handlers(), audience="generator") as mesh:
        with pytest.raises(Unauthenticated) as caught:
            await call(mesh, arity)
    assert caught.value.reason is Reason.IDENTITY_INVALID
    assert work.calls == 0


async def test_a_token_signed_by_another_key_is_refused() -> None:
    async with mesh_server(Work().handlers(), keys={"k1": bytes(32)}) as mesh:
        with pytest.raises(Unauthenticated) as caught:
            await call(mesh, "unary")
    assert caught.value.reason is Reason.IDENTITY_INVALID


@pytest.mark.parametrize("arity", ARITIES)
async def test_each_call_leaves_one_access_line(arity: str) -> None:
    work = Work(fail=Aborted("lost a race"))
    async with mesh_server(work.handlers()) as mesh:
        with structlog.testing.capture_logs() as logs, pytest.raises(Aborted):
            await call(mesh, arity)
    (line,) = logs
    assert (line["event"], line["code"], line["reason"]) == ("call", "ABORTED", Reason.REQUEST_ID_REUSED)
    assert (line["tenant"], line["request_id"]) == ("acme", "r-1")


async def test_a_stream_that_is_dropped_or_closed_half_way_ends_the_handler() -> None:
    for leave in ("close", "drop"):
        work = Work(hang=True)
        async with mesh_server(work.handlers()) as mesh:
            replies = mesh.many(b"ab")
            assert await anext(replies) == b"ab"
            await work.started.wait()
            if leave == "close":
                await replies.aclose()
            del replies
            async with asyncio.timeout(1):
                await work.cleaned.wait()


async def test_a_stream_cancelled_while_a_reply_is_sent_closes_the_handler() -> None:
    cleaned = asyncio.Event()

    async def endless(request: bytes, context: Any) -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(200_000)  # more than the window, so that sending waits for the reader
        finally:
            await asyncio.sleep(0.01)
            cleaned.set()

    async with mesh_server(Handlers(many=endless)) as mesh:
        replies = mesh.many(b"")
        await anext(replies)
        await replies.aclose()
        async with asyncio.timeout(1):
            await cleaned.wait()
        assert await mesh.registry.wait(1)


async def test_all_replies_arrive_though_the_reader_is_slow() -> None:
    async def burst(request: bytes, context: Any) -> AsyncIterator[bytes]:
        for number in range(300):
            yield b"%d" % number

    async with mesh_server(Handlers(many=burst)) as mesh:
        replies = mesh.many(b"")
        await until(lambda: len(mesh.registry) == 0)
        read = []
        async for reply in replies:
            read.append(int(reply))
            await asyncio.sleep(0)
    assert read == list(range(300))


async def test_replies_may_be_read_by_several_tasks_in_turn() -> None:
    async def three(request: bytes, context: Any) -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x"

    async with mesh_server(Handlers(many=three)) as mesh:
        replies = mesh.many(b"")
        read = [await asyncio.create_task(anext(replies, b"end")) for _ in range(4)]
    assert read == [b"x", b"x", b"x", b"end"]


async def test_an_error_of_the_requests_is_what_the_caller_gets_and_the_handler_sees_no_end() -> None:
    complete: list[bytes] = []

    async def upload(requests: AsyncIterator[bytes], context: Any) -> bytes:
        complete.append(b"".join([each async for each in requests]))
        return b"stored"

    async def half() -> AsyncIterator[bytes]:
        yield b"a"
        raise InvalidArgument.field("content", "is cut off")

    async with mesh_server(Handlers(upload=upload)) as mesh:
        with pytest.raises(InvalidArgument, match="content: is cut off"):
            await mesh.upload(half())
        assert await mesh.registry.wait(1)
    assert complete == []


async def test_an_upload_whose_client_goes_away_never_looks_complete() -> None:
    complete = 0

    async def upload(requests: AsyncIterator[bytes], context: Any) -> bytes:
        nonlocal complete
        async for _ in requests:
            pass
        complete += 1
        return b"stored"

    async def stuck() -> AsyncIterator[bytes]:
        yield b"half"
        await asyncio.Event().wait()

    async with mesh_server(Handlers(upload=upload)) as mesh:
        for turn in range(60):
            client = asyncio.create_task(mesh.upload(stuck()))
            await asyncio.sleep(0.001 * (turn % 4))  # ever later in the call's life
            client.cancel()
            await asyncio.gather(client, return_exceptions=True)
        assert await mesh.registry.wait(1)
    assert complete == 0


async def test_a_peer_that_breaks_off_is_unavailable_and_not_a_cancellation_of_ours() -> None:
    work = Work(hang=True)
    async with mesh_server(work.handlers()) as mesh:
        client = asyncio.create_task(call(mesh, "unary"))
        await work.started.wait()
        await mesh.server.stop(0)
        with pytest.raises(Unavailable):
            await client


async def test_ten_long_violations_fit_behind_a_call() -> None:
    text = "ж" * 400
    sent = InvalidArgument(text * 10, violations=[FieldViolation(text, text)] * 10, metadata={"limit": "1"})
    async with mesh_server(Work(fail=sent).handlers()) as mesh:
        with pytest.raises(InvalidArgument) as caught:
            await call(mesh, "unary")
    assert caught.value.reason is Reason.FIELD_INVALID
    assert caught.value.violations


async def test_a_method_that_nobody_handles_is_an_error_and_not_a_hang() -> None:
    async with mesh_server(Handlers()) as mesh:
        with pytest.raises(MeshError, match="the test answered UNIMPLEMENTED"):
            await mesh.unary(b"")


async def test_a_rotated_key_signs_while_the_old_one_still_verifies() -> None:
    new_first = {"k2": bytes(range(32)), **KEYS}
    async with mesh_server(Work().handlers(), keys=new_first) as mesh:
        with pytest.raises(Unauthenticated):  # this server does not know k2 yet
            await call(mesh, "unary")
    async with mesh_server(Work().handlers(), keys=KEYS) as mesh:
        assert await call(mesh, "unary") == b"ab"
