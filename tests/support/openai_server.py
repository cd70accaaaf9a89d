"""A scripted server that speaks the wire format of an OpenAI-compatible chat API over real sockets.

Each request takes the next `Script` of the queue; when the queue is empty, the model's name is the script, so that
a mesh of real processes can be steered by its settings alone (`named_script` lists the names). It is written on
plain asyncio streams because it must do what a web framework hides: reset a connection, send half a chunk, and
notice at once that the client went away.

    python tests/support/openai_server.py --port 0     # prints the port, then serves until it is stopped
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Script:
    """What to do with one request. The *_after fields count content chunks; at most one of them is set."""

    pieces: tuple[str, ...] = ("The answer", " is", " 42", " [1]", ".")
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    error: Mapping[str, Any] | None = None  # the `error` object of a reply that is not 200
    first_byte_delay_seconds: float = 0.0
    piece_delay_seconds: float = 0.0
    finish_reason: str = "stop"
    usage: bool = True
    done_mark: bool = True
    stall_after: int | None = None  # nothing more is sent; comments are when comments_while_stalled is set
    comments_while_stalled: bool = False
    reset_after: int | None = None  # the connection is reset
    cut_after: int | None = None  # the body ends properly, but before a finish_reason
    malformed_after: int | None = None  # a data line that is not JSON
    wrong_shape_after: int | None = None  # a data line that is JSON, but no chunk
    error_after: int | None = None  # an error object inside the stream


@dataclass(slots=True)
class SeenRequest:
    """One request as it arrived. disconnected is set when the client closed before the reply was complete."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    pieces_sent: int = 0
    complete: bool = False
    stalled: asyncio.Event = field(default_factory=asyncio.Event)
    disconnected: asyncio.Event = field(default_factory=asyncio.Event)
    disconnected_at: float | None = None  # time.monotonic()


_COUNTED = {
    "stall-after": "stall_after",
    "reset-after": "reset_after",
    "cut-after": "cut_after",
    "malformed-after": "malformed_after",
    "wrong-shape-after": "wrong_shape_after",
    "error-after": "error_after",
}


def named_script(model: str, body: Mapping[str, Any]) -> Script:
    """The script that a model's name stands for: `scripted-echo` (the last user message, word by word, then `[1]`),
    `scripted-slow` (echo, 50 ms a piece), `status-N`, `context-length`, `slow-first-byte` (60 s), `no-usage`,
    `length`, `filtered`, `empty`, and `stall-after-N`, `reset-after-N`, `cut-after-N`, `malformed-after-N`,
    `wrong-shape-after-N`, `error-after-N`. Any other name answers one cited sentence."""
    if model.startswith(("scripted-echo", "scripted-slow")):
        users = [m["content"] for m in body.get("messages", []) if m.get("role") == "user"]
        pieces = (*re.findall(r"\S+\s*", users[-1] if users else ""), " [1]")
        return Script(pieces=pieces, piece_delay_seconds=0.05 if model.startswith("scripted-slow") else 0.0)
    if match := re.fullmatch(r"status-(\d{3})", model):
        status = int(match[1])
        return Script(status=status, headers={"retry-after": "7"} if status == 429 else {})
    if match := re.fullmatch(r"((?:stall|reset|cut|malformed|wrong-shape|error)-after)-(\d+)", model):
        counted: dict[str, Any] = {_COUNTED[match[1]]: int(match[2])}
        return replace(Script(), **counted)
    simple = {
        "context-length": Script(status=400, error=CONTEXT_LENGTH_ERROR),
        "slow-first-byte": Script(first_byte_delay_seconds=60.0),
        "no-usage": Script(usage=False),
        "length": Script(finish_reason="length"),
        "filtered": Script(finish_reason="content_filter"),
        "empty": Script(pieces=()),
    }
    return simple.get(model, Script())


CONTEXT_LENGTH_ERROR = {
    "message": "This model's maximum context length is 4096 tokens.",
    "type": "invalid_request_error",
    "param": "messages",
    "code": "context_length_exceeded",
}


class OpenAIServer:
    """`async with OpenAIServer() as server:` serves on 127.0.0.1 at a free port; `server.base_url` ends in /v1."""

    def __init__(
        self, port: int = 0, choose: Callable[[Mapping[str, Any]], Script] | None = None, host: str = "127.0.0.1"
    ) -> None:
        """choose: makes the script of a request, given its body, when the queue is empty."""
        self._wanted_port, self._host = port, host
        self._choose = choose
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._scripts: deque[Script] = deque()
        self.requests: list[SeenRequest] = []
        self.arrived = asyncio.Condition()
        self.port = 0

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def open_connections(self) -> int:
        return len(self._connections)

    def queue(self, *scripts: Script) -> None:
        self._scripts.extend(scripts)

    async def request(self, index: int = 0) -> SeenRequest:
        """The request with this index, as soon as it has arrived; five seconds at most."""
        async with asyncio.timeout(5), self.arrived:
            await self.arrived.wait_for(lambda: len(self.requests) > index)
        return self.requests[index]

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, self._host, self._wanted_port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _script_of(self, body: Mapping[str, Any]) -> Script:
        return self._choose(body) if self._choose is not None else named_script(str(body.get("model", "")), body)

    async def _respond(self, writer: asyncio.StreamWriter, seen: SeenRequest) -> bool:
        """Answer one request; whether the connection can carry another."""
        script = self._scripts.popleft() if self._scripts else self._script_of(seen.body)
        return await _answer(writer, script, seen)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.set_name("openai_server.connection")
        self._connections.add(task)
        try:
            while await self._serve_one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client left, or the server is stopping: both end the connection, neither is news
        finally:
            self._connections.discard(task)
            writer.close()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; True when the connection can carry another."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ", 2)
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
        raw = await reader.readexactly(int(headers.get("content-length", "0")))
        if method == "GET" and path == "/v1/models":
            listing = {"object": "list", "data": [{"id": "scripted", "object": "model", "owned_by": "tests"}]}
            await reply_json(writer, 200, {}, listing)
            return True
        body = json.loads(raw or b"{}")
        seen = SeenRequest(path, headers, body)
        async with self.arrived:
            self.requests.append(seen)
            self.arrived.notify_all()
        answer = asyncio.create_task(self._respond(writer, seen), name="openai_server.answer")
        gone = asyncio.create_task(reader.read(1), name="openai_server.disconnect")  # nothing is pipelined
        try:
            await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done() or answer.exception():  # it went away in silence, or while something was sent
                seen.disconnected_at = time.monotonic()
                seen.disconnected.set()
                return False
            return answer.result()
        finally:
            answer.cancel()
            gone.cancel()
            await asyncio.gather(answer, gone, return_exceptions=True)


async def _answer(writer: asyncio.StreamWriter, script: Script, seen: SeenRequest) -> bool:
    await asyncio.sleep(script.first_byte_delay_seconds)
    if script.status != 200:
        error = dict(script.error or {"message": f"scripted {script.status}", "type": "scripted", "code": None})
        await reply_json(writer, script.status, script.headers, {"error": error})
        seen.complete = True
        return True
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
    await _event(writer, _chunk(seen, {"role": "assistant", "content": ""}))
    for index, piece in enumerate((*script.pieces, None)):
        if script.stall_after == index:
            seen.stalled.set()
            while True:
                await asyncio.sleep(0.02)
                if script.comments_while_stalled:
                    await _write(writer, b": still here\n\n")
        if script.reset_after == index:
            reset(writer)
            return False
        if script.cut_after == index:
            await _end(writer)
            return True
        if script.malformed_after == index:
            await _write(writer, b'data: {"id": "x", "choices": [{"del\n\n')
            await _end(writer)
            return True
        if script.wrong_shape_after == index:
            await _event(writer, {"choices": "none", "id": 7})
        if script.error_after == index:
            await _event(writer, {"error": {"message": "the model crashed: secret detail", "type": "server_error"}})
            await _end(writer)
            return True
        if piece is None:
            break
        if script.piece_delay_seconds:
            await asyncio.sleep(script.piece_delay_seconds)
        await _event(writer, _chunk(seen, {"content": piece}))
        seen.pieces_sent += 1
    await _event(writer, _chunk(seen, {}, script.finish_reason))
    if script.usage and seen.body.get("stream_options", {}).get("include_usage"):
        usage = {"prompt_tokens": 11, "completion_tokens": len(script.pieces), "total_tokens": 11 + len(script.pieces)}
        await _event(writer, _chunk(seen, None) | {"usage": usage})
    if script.done_mark:
        await _write(writer, b"data: [DONE]\n\n")
    seen.complete = True  # before the last byte: the client may close on reading it
    await _end(writer)
    return True


def _chunk(seen: SeenRequest, delta: dict[str, Any] | None, finish: str | None = None) -> dict[str, Any]:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}]
    base = {"id": "chatcmpl-scripted", "object": "chat.completion.chunk", "created": 1_700_000_000}
    return base | {"model": seen.body.get("model", ""), "choices": choices, "usage": None}


async def _event(writer: asyncio.StreamWriter, data: dict[str, Any]) -> None:
    await _write(writer, b"data: " + json.dumps(data, ensure_ascii=False).encode() + b"\n\n")


async def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
    await writer.drain()


async def _end(writer: asyncio.StreamWriter) -> None:
    writer.write(b"0\r\n\r\n")
    await writer.drain()


def reset(writer: asyncio.StreamWriter) -> None:
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close sends RST
    writer.transport.abort()


async def reply_json(
    writer: asyncio.StreamWriter, status: int, headers: Mapping[str, str], body: Mapping[str, Any]
) -> None:
    data = json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} Scripted", "content-type: application/json", f"content-length: {len(data)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    writer.write("\r\n".join([*lines, "", ""]).encode() + data)
    await writer.drain()


async def _serve(port: int) -> None:
    async with OpenAIServer(port) as server:
        print(server.port, flush=True)
        await asyncio.Event().wait()


def main() -> int:
    parser = argparse.ArgumentParser(description="A scripted OpenAI-compatible chat API for tests.")
    parser.add_argument("--port", type=int, default=0)
    try:
        asyncio.run(_serve(parser.parse_args().port))
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
