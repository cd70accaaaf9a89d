"""Server streams on HTTP: server-sent events, or newline-delimited JSON when the client accepts only that.

The first reply is awaited before the response begins, so that a failure before it has its own status. While the stream
runs, a client that goes away ends the work behind it at once; every `HEARTBEAT_SECONDS` without an event a comment
(in NDJSON an empty line) keeps proxies from closing the connection.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from google.protobuf.message import Message
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from ragmesh_gateway.rest.connection import stopped, watch
from ragmesh_gateway.rest.encoding import to_json
from ragmesh_gateway.rest.problem import problem_dict
from ragmesh_servicekit.errors import MeshError

HEARTBEAT_SECONDS = 15.0
AHEAD = 16
"""Replies that may wait for a slow client; then the work behind waits too."""
SSE = "text/event-stream"
NDJSON = "application/x-ndjson"


def media_type(accept: str) -> str:
    """NDJSON when the client names it and not SSE; SSE otherwise."""
    return NDJSON if NDJSON in accept and SSE not in accept else SSE


def sse_frame(reply: Message) -> bytes:
    """One event: its name is the oneof's field, its id the sequence."""
    name = reply.WhichOneof("event") or "message"
    sequence = getattr(reply, "sequence", 0)
    head = f"event: {name}\n" + (f"id: {sequence}\n" if sequence else "")
    return head.encode() + b"data: " + to_json(reply) + b"\n\n"


def ndjson_frame(reply: Message) -> bytes:
    return to_json(reply) + b"\n"


class StreamResponse:
    """An ASGI response over an async generator of replies. `on_error` maps anything raised to a MeshError; `finished`
    is told how the stream ended (None for well)."""

    def __init__(
        self,
        replies: AsyncGenerator[Message, None],
        kind: str,
        request_id: str,
        on_error: Callable[[Exception], MeshError],
        finished: Callable[[BaseException | None], None],
    ) -> None:
        self._replies = replies
        self._kind = kind
        self._request_id = request_id
        self._on_error = on_error
        self._finished = finished
        self._frame = ndjson_frame if kind == NDJSON else sse_frame
        self._queue: asyncio.Queue[Message | None] = asyncio.Queue()
        self._free = asyncio.Semaphore(AHEAD)
        self._first: Message | None = None
        self._pump: asyncio.Task[None] | None = None
        self._watcher: asyncio.Task[None] | None = None

    async def begin(self, receive: Receive) -> None:
        """Start the work and await its first reply. Raises what the stream raises before it, or ClientDisconnect. The
        body must have been read."""
        self._pump = asyncio.create_task(self._iterate(), name="rest-stream")
        self._pump.add_done_callback(lambda _: self._queue.put_nowait(None))
        self._watcher = watch(receive, self._pump)
        try:
            self._first = await self._next()
        except BaseException:
            await self._stop()
            raise
        if self._first is None:
            error = self._outcome()
            if error is not None:
                await self._stop()
                raise error

    async def _iterate(self) -> None:
        """The whole life of the generator, in one task: what it sets in its context it resets in the same, and nobody
        closes it while it runs. Cancelling this task is how it ends early."""
        async with aclosing(self._replies) as replies:
            async for reply in replies:
                await self._free.acquire()
                self._queue.put_nowait(reply)

    async def _next(self) -> Message | None:
        reply = await self._queue.get()
        self._free.release()
        return reply

    def _outcome(self) -> BaseException | None:
        """How the work ended: None for well, ClientDisconnect when that ended it."""
        assert self._pump is not None
        assert self._watcher is not None
        if self._watcher.done():
            return ClientDisconnect()
        return stopped() if self._pump.cancelled() else self._pump.exception()

    async def _stop(self) -> None:
        """End the work, when it still runs, and wait until it has."""
        tasks = [task for task in (self._pump, self._watcher) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._finished(await self._write(send, scope["method"] == "HEAD"))
        except asyncio.CancelledError as error:
            self._finished(error)
            raise
        finally:
            await self._stop()

    async def _write(self, send: Send, head_only: bool) -> BaseException | None:
        headers = [
            (b"content-type", self._kind.encode() + (b"; charset=utf-8" if self._kind == SSE else b"")),
            (b"cache-control", b"no-cache, no-transform"),
            (b"x-accel-buffering", b"no"),
            (b"x-content-type-options", b"nosniff"),
            (b"x-request-id", self._request_id.encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        reply, last = self._first, self._first
        while reply is not None and not head_only:
            last = reply
            await send(_body(self._frame(reply)))
            reply = await self._next_or_heartbeat(send)
        outcome = None if head_only else self._outcome()
        if isinstance(outcome, ClientDisconnect):
            return outcome
        if isinstance(outcome, Exception):
            outcome = self._on_error(outcome)
            if last is None or last.WhichOneof("event") != "error":
                await send(_body(self._failure_frame(outcome)))
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        return outcome

    async def _next_or_heartbeat(self, send: Send) -> Message | None:
        """The next reply, with a heartbeat for each silent interval; None at the end."""
        while True:
            try:
                async with asyncio.timeout(HEARTBEAT_SECONDS):
                    return await self._next()
            except TimeoutError:
                await send(_body(b": still here\n\n" if self._kind == SSE else b"\n"))

    def _failure_frame(self, error: MeshError) -> bytes:
        body = json.dumps(problem_dict(error, self._request_id, ""), ensure_ascii=False).encode()
        if self._kind == NDJSON:
            return b'{"error":' + body + b"}\n"
        return b"event: error\ndata: " + body + b"\n\n"


def _body(data: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": True}
