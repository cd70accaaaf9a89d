"""What a call leaves in the log, through the real pipeline: one JSON object a line, each with the ids that tie it to
what the caller was told."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import structlog

from ragmesh_servicekit import identity
from ragmesh_servicekit.errors import Internal, NotFound
from ragmesh_servicekit.identity import Identity
from ragmesh_servicekit.logs import configure_logs
from support.mesh_server import Handlers, Mesh, mesh_server
from support.waiting import until

ANNA = Identity("acme", "anna", request_id="r-1")
ARITIES = ["unary", "many", "upload", "chat"]


class Log:
    """The lines so far."""

    def __init__(self, stream: io.StringIO) -> None:
        self._stream = stream

    def lines(self, event: str = "") -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self._stream.getvalue().splitlines()]
        return [line for line in lines if not event or line["event"] == event]


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[Log]:
    """The log as a process writes it, for the length of a test."""
    root, stream = logging.getLogger(), io.StringIO()
    handlers, level = list(root.handlers), root.level
    monkeypatch.setattr(sys, "stderr", stream)
    configure_logs("test", "test-1", "INFO")
    yield Log(stream)
    logging.captureWarnings(False)
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


def failing(error: Exception) -> Handlers:
    async def unary(request: Any, context: Any) -> bytes:
        raise error

    async def many(request: Any, context: Any) -> AsyncIterator[bytes]:
        yield b"first"
        raise error

    return Handlers(unary, many, unary, many)


async def call(mesh: Mesh, arity: str) -> None:
    async def one() -> AsyncIterator[bytes]:
        yield b"a"

    if arity in {"unary", "upload"}:
        await getattr(mesh, arity)(b"a" if arity == "unary" else one())
    else:
        async for _ in getattr(mesh, arity)(b"a" if arity == "many" else one()):
            pass


@pytest.mark.parametrize("arity", ARITIES)
async def test_the_request_id_finds_the_traceback_of_an_unexpected_exception(log: Log, arity: str) -> None:
    async with mesh_server(failing(ValueError("boom"))) as mesh:
        with identity.acting_as(ANNA), pytest.raises(Internal, match="the request id finds it"):
            await call(mesh, arity)
        await until(lambda: bool(log.lines("call")))
    (error,), (access,) = log.lines("internal_error"), log.lines("call")
    assert error["request_id"] == access["request_id"] == "r-1"
    assert "ValueError: boom" in error["exception"]
    assert (access["service"], access["instance"], access["tenant"]) == ("test", "test-1", "acme")


async def test_one_callers_request_id_is_not_on_anothers_lines(log: Log) -> None:
    async with mesh_server(failing(NotFound("gone"))) as mesh:
        for request_id in ("r-1", "r-2"):
            with identity.acting_as(Identity("acme", "anna", request_id=request_id)), pytest.raises(NotFound):
                await call(mesh, "unary")
        with identity.acting_as(None), pytest.raises(Exception, match="from the gateway only"):
            await call(mesh, "unary")
        await until(lambda: len(log.lines("call")) == 3)
    assert [line.get("request_id") for line in log.lines("call")] == ["r-1", "r-2", None]


@pytest.mark.parametrize("write", [logging.getLogger("uvicorn").warning, logging.getLogger("somewhere.else").warning])
def test_the_lines_of_libraries_have_the_same_form(log: Log, write: Callable[..., None]) -> None:
    with identity.acting_as(ANNA):
        write("the %s is full", "disk")
    (line,) = log.lines()
    assert (line["event"], line["level"], line["request_id"]) == ("the disk is full", "warning", "r-1")
