"""A tiny process of the mesh, for tests of its life: `python mesh_process.py MODE`, like a service's `__main__`.

Its method Unary answers after as many seconds as its request says, and says on stdout that it was called; to an empty
request it answers at once and says nothing. Many sends a reply every 0.1 s, as many as its request says. MODE:
`serve`; `starting`, which never ends to start; `failing`, whose start fails; `dying`, one of whose tasks dies when the
file named by GATE appears.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragmesh_servicekit.process import Process, run
from ragmesh_servicekit.process_settings import ProcessSettings
from ragmesh_servicekit.settings import load, setting
from support.mesh_server import Handlers


@dataclass(frozen=True, slots=True)
class Settings:
    process: ProcessSettings
    grpc_port: int = setting("RAGMESH_GRPC_PORT", 0, doc="The port of gRPC.", minimum=0, maximum=65535)


def tell(word: str) -> None:
    """A line for the test."""
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


async def unary(request: bytes, context: Any) -> bytes:
    if not request:
        return b"done"
    tell("called")
    try:
        await asyncio.sleep(float(request))
    finally:
        tell("call ended")
    return b"done"


async def many(request: bytes, context: Any) -> AsyncIterator[bytes]:
    for number in range(int(request)):
        await asyncio.sleep(0.1)
        yield str(number).encode()


@asynccontextmanager
async def resource() -> AsyncIterator[None]:
    tell("opened")
    try:
        yield
    finally:
        tell("closed")


async def dying() -> None:
    while not Path(os.environ["GATE"]).exists():  # noqa: ASYNC110, ASYNC240 - a gate between two processes
        await asyncio.sleep(0.01)
    try:
        raise OSError("the disk is gone")
    except OSError as error:
        raise RuntimeError("the worker cannot go on") from error


async def main() -> None:
    settings = load(Settings, os.environ)
    async with Process("test", settings.process, grpc_port=settings.grpc_port) as process:
        await process.enter(resource())
        if MODE == "starting":
            tell("starting")
            await asyncio.Event().wait()
        if MODE == "failing":
            raise RuntimeError("a fault of the start")
        if MODE == "dying":
            process.spawn("worker", dying())
        Handlers(unary=unary, many=many).add_to(process.server)

        async def drained() -> None:
            tell("gave back")

        async def ready() -> None:
            while not process.health.ready:  # noqa: ASYNC110 - readiness sends no event
                await asyncio.sleep(0.005)
            tell(f"serving {process.port}")

        process.spawn("tell", ready())
        process.after_drain(drained)
        await process.serve()
    tell("left")


if __name__ == "__main__":
    MODE = sys.argv[1]
    run(main)
