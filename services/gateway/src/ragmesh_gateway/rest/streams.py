"""Server streams on HTTP: server-sent events, or newline-delimited JSON when the client accepts only that.

The first reply is awaited before the response begins, so that a failure before it has its own status. While the stream
runs, a client that goes away ends the work behind it at once; every `HEARTBEAT_SECONDS` without an event a comment
keeps proxies from closing the connection.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Any

from google.protobuf.message import Message
from starlette.types import Receive, Scope, Send

from ragmesh_gateway.rest.encoding import to_json
from ragmesh_gateway.rest.problem import problem_dict
from ragmesh_servicekit.errors import MeshError

HEARTBEAT_SECONDS = 15.0
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
        self._first: Message | None = None

    async def begin(self) -> None:
        """Await the first reply. Raises what the stream raises before it."""
        self._first = await anext(self._replies, None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        writer = asyncio.create_task(self._write(send), name="rest-stream")
        watcher = asyncio.create_task(_disconnected(receive), name="rest-stream-watch")
        try:
            await asyncio.wait({writer, watcher}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (writer, watcher):
                task.cancel()
            results = await asyncio.gather(writer, watcher, return_exceptions=True)
            await self._replies.aclose()
        outcome = results[0]
        self._finished(outcome if isinstance(outcome, BaseException) else None)

    async def _write(self, send: Send) -> None:
        headers = [
            (b"content-type", self._kind.encode() + (b"; charset=utf-8" if self._kind == SSE else b"")),
            (b"cache-control", b"no-cache, no-transform"),
            (b"x-accel-buffering", b"no"),
            (b"x-request-id", self._request_id.encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        failure: MeshError | None = None
        last = self._first
        try:
            if last is not None:
                await send(_body(self._frame(last)))
            while (reply := await self._next(send)) is not None:
                last = reply
                await send(_body(self._frame(reply)))
        except Exception as error:
            failure = self._on_error(error)
            if last is None or last.WhichOneof("event") != "error":
                await send(_body(self._failure_frame(failure)))
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        if failure is not None:
            raise failure

    async def _next(self, send: Send) -> Message | None:
        """The next reply, with a heartbeat for each silent interval; None at the end."""
        pending = asyncio.ensure_future(anext(self._replies, None))
        try:
            while True:
                done, _ = await asyncio.wait({pending}, timeout=HEARTBEAT_SECONDS)
                if done:
                    return pending.result()
                await send(_body(b": still here\n\n" if self._kind == SSE else b"\n"))
        finally:
            if not pending.done():
                pending.cancel()
                with suppress(asyncio.CancelledError, StopAsyncIteration):
                    await pending

    def _failure_frame(self, error: MeshError) -> bytes:
        body = json.dumps(problem_dict(error, self._request_id, ""), ensure_ascii=False).encode()
        if self._kind == NDJSON:
            return b'{"error":' + body + b"}\n"
        return b"event: error\ndata: " + body + b"\n\n"


def _body(data: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": True}


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
