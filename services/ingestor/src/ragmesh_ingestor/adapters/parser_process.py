"""A small pool of parser children: documents go in, passages come out, and nothing that a document does to its
parser reaches this process or another document.

A child answers in order, several small documents at a time. When it dies or stops answering, it is killed with its
process group, and a new one is given the unanswered documents one by one, so that it is clear which one it was: that
one fails, and the rest are answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence

import structlog

from ragmesh_ingestor.adapters import frames
from ragmesh_ingestor.domain.passage import ParsedPassages, ParseFailure, ParseRequest
from ragmesh_servicekit.errors import Reason, Unavailable

log = structlog.get_logger()

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""An answer is about three times its document (offsets, words, for HTML the text)."""

_START_SECONDS = 30.0
_CHILD_ENVIRONMENT = {"PYTHONUTF8": "1", "TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1"}
"""The whole environment of a child: no secret of ours is in it."""


class _ChildLost(Exception):
    """The child died, or broke the protocol."""


class ParserPool:
    """Children start with the first document and live on. Use as `async with ParserPool(...) as parser`."""

    def __init__(self, settings: frames.ChildSettings, *, size: int = 1, timeout_seconds: float = 30.0) -> None:
        """timeout_seconds: wall time for one document; its processor time is limited by the settings besides."""
        self._settings = settings
        self._timeout_seconds = timeout_seconds
        self._idle: asyncio.LifoQueue[_Child | None] = asyncio.LifoQueue()
        self._children: set[_Child] = set()
        for _ in range(size):
            self._idle.put_nowait(None)

    async def __aenter__(self) -> ParserPool:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def warm(self) -> None:
        """Start one child, so that the first document need not wait for it. Raises Unavailable when it cannot."""
        child = await self._idle.get()
        try:
            child = await self._usable(child)
        finally:
            self._idle.put_nowait(child)

    async def parse(self, requests: Sequence[ParseRequest]) -> list[ParsedPassages | ParseFailure]:
        """One result for each request, in order. A document that cannot be parsed is a ParseFailure; Unavailable
        is raised only when no child can be started. Cancelling kills the child at work."""
        results: list[ParsedPassages | ParseFailure] = []
        child = await self._idle.get()
        together = len(requests)
        try:
            while len(results) < len(requests):
                child = await self._usable(child)
                given = requests[len(results) : len(results) + together]
                failure = await self._run(child, given, results)
                if failure is not None:
                    if len(given) == 1:
                        results.append(failure)
                    together = 1
                    await self._discard(child)
                    child = None
        except BaseException:
            if child is not None:
                await asyncio.shield(self._discard(child))
                child = None
            raise
        finally:
            self._idle.put_nowait(child)
        return results

    @property
    def pids(self) -> list[int]:
        """The living children."""
        return [child.pid for child in self._children if child.alive]

    async def close(self) -> None:
        """Kill every child and wait for its end."""
        for child in list(self._children):
            await self._discard(child)

    async def _usable(self, child: _Child | None) -> _Child:
        if child is not None and child.alive:
            return child
        if child is not None:
            await self._discard(child)
        fresh = await _Child.spawn(self._settings)
        self._children.add(fresh)
        try:
            await fresh.ready()
        except (TimeoutError, _ChildLost) as error:
            await self._discard(fresh)
            raise Unavailable.dependency("parser", "the parser process does not start; try again") from error
        except BaseException:
            await asyncio.shield(self._discard(fresh))
            raise
        return fresh

    async def _discard(self, child: _Child) -> None:
        self._children.discard(child)
        await child.kill()

    async def _run(
        self, child: _Child, requests: Sequence[ParseRequest], results: list[ParsedPassages | ParseFailure]
    ) -> ParseFailure | None:
        """Append results until the batch ends or a document takes the child with it; then the failure, which is that
        of the next document when no other was given with it."""
        request = requests[0]
        loop = asyncio.get_running_loop()
        sent = asyncio.create_task(child.send(requests), name="parser.send")
        try:
            async with asyncio.timeout(self._timeout_seconds) as timer:
                for request in requests:
                    body, text = await child.answer()
                    timer.reschedule(loop.time() + self._timeout_seconds)
                    results.append(frames.decode_answer(request, body, text))
        except TimeoutError:
            log.warning("parser.timeout", pid=child.pid, size_bytes=len(request.data))
            seconds = f"{self._timeout_seconds:g}"
            return ParseFailure(Reason.CONTENT_INVALID.value, f"content: could not be parsed within {seconds} seconds")
        except _ChildLost as error:
            status = await child.kill()
            log.warning("parser.lost", pid=child.pid, status=status, error=str(error), size_bytes=len(request.data))
            if status == -signal.SIGXCPU:
                return ParseFailure(
                    Reason.CONTENT_INVALID.value, "content: takes more processor time to parse than a document may"
                )
            return ParseFailure(Reason.CONTENT_INVALID.value, "content: the parser failed on it", repeatable=True)
        finally:
            sent.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sent
        return None


class _Child:
    def __init__(self, process: Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._stdin = process.stdin
        self._stdout = process.stdout

    @classmethod
    async def spawn(cls, settings: frames.ChildSettings) -> _Child:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "ragmesh_ingestor.adapters.parser_child",
            settings.encode(),
            str(os.getpid()),
            stdin=PIPE,
            stdout=PIPE,
            env=_CHILD_ENVIRONMENT,
            start_new_session=True,  # a group of its own, which can be killed whole and hears no Ctrl-C
        )
        return cls(process)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    async def ready(self) -> None:
        async with asyncio.timeout(_START_SECONDS):
            if await self._exactly(len(frames.READY)) != frames.READY:
                raise _ChildLost("not ready")

    async def send(self, requests: Sequence[ParseRequest]) -> None:
        """Write a batch; a child that dies meanwhile is noticed by the one who waits for its answer."""
        with contextlib.suppress(ConnectionError):
            for piece in frames.encode_request(requests):
                self._stdin.write(piece)
                await self._stdin.drain()

    async def answer(self) -> tuple[bytes, bytes]:
        body, text = frames.ANSWER_HEAD.unpack(await self._exactly(frames.ANSWER_HEAD.size))
        if body + text > MAX_ANSWER_BYTES:
            raise _ChildLost("answer too large")
        return await self._exactly(body), await self._exactly(text)

    async def kill(self) -> int:
        """End the child and whatever it started; its exit status, negative for a signal."""
        if self._process.returncode is None:
            with contextlib.suppress(TimeoutError):  # a child that is ending keeps the status that tells why
                async with asyncio.timeout(0.05):
                    return await self._process.wait()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        self._stdin.close()
        return await self._process.wait()

    async def _exactly(self, length: int) -> bytes:
        try:
            return await self._stdout.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise _ChildLost("end of answers") from error
