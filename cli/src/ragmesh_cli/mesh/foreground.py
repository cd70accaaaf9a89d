"""A mesh in the foreground: started, kept until a signal or the end of what was asked of it, drained."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from ragmesh_cli.failure import Failure
from ragmesh_cli.home import Home
from ragmesh_cli.mesh.supervisor import Supervisor
from ragmesh_cli.own_key import own_key
from ragmesh_cli.terminal import errors, interactive, note, say
from ragmesh_cli.welcome import Welcome

PROGRESS_SECONDS = 0.1


async def serve(home: Home, supervisor: Supervisor, welcome: Welcome | None) -> int:
    """Start, welcome, wait, drain. Returns the exit code: 0 when everything went by itself, 1 when something had to be
    killed. Raises Failure, after draining, when the mesh could not start or the welcome failed."""
    stop = _stop_on_signals(supervisor)
    try:
        if await _unless(stop, _start(home, supervisor)):
            watch = asyncio.ensure_future(supervisor.watch())
            try:
                await _until(stop, watch, welcome)
            finally:
                watch.cancel()
    finally:
        clean = await supervisor.stop()
    note("stopped" if clean else f"stopped; a process did not end in time and was killed (logs: {home.logs})")
    return 0 if clean else 1


async def _until(stop: asyncio.Event, watch: asyncio.Future[None], welcome: Welcome | None) -> None:
    async def stay() -> None:
        if welcome is not None:
            await welcome.run()
        if welcome is None or interactive() or not welcome.asks:
            say("Ctrl-C stops it.")
            await watch

    await _unless(stop, stay())


async def _start(home: Home, supervisor: Supervisor) -> None:
    first = not any((home.path / "models").iterdir())
    say(f"starting ragmesh in {home.path}" + (" (the first start prepares the embedding model)" if first else ""))
    started = time.monotonic()
    async with _progress(supervisor):
        await supervisor.start()
    plan = supervisor.plan
    say("ragmesh is ready")
    say(f"  REST     {plan.rest}  (pages: {plan.rest}/docs)")
    say(f"  gRPC     {plan.grpc}")
    key = "the one in RAGMESH_BOOTSTRAP_KEY" if own_key(os.environ) else home.key_file.read_text().strip()
    say(f"  key      {key}")
    say(f"  logs     {home.logs}")
    say(f"  started  in {time.monotonic() - started:.1f} s")


@asynccontextmanager
async def _progress(supervisor: Supervisor) -> AsyncIterator[None]:
    """On a terminal, what is still awaited, until it serves."""
    if not errors.is_terminal:
        yield
        return

    async def show() -> None:
        with errors.status("") as line:
            while True:
                line.update(f"waiting for {', '.join(supervisor.waiting_for) or 'the first process'}")
                await asyncio.sleep(PROGRESS_SECONDS)

    task = asyncio.create_task(show(), name="start-progress")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _stop_on_signals(supervisor: Supervisor) -> asyncio.Event:
    """An event that the first SIGINT, SIGTERM or SIGHUP sets; the second one ends everything at once with 128+n."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal(number: signal.Signals) -> None:
        if stop.is_set():
            supervisor.kill()
            os._exit(128 + number)
        stop.set()
        note("stopping: letting requests finish (again to stop at once)")

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, on_signal, number)
    return stop


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Run work, but not past the stop. True when it finished; what it raises is raised."""
    task = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        finished = task.done()
        for each in (task, stopping):
            each.cancel()
        results = await asyncio.gather(task, stopping, return_exceptions=True)
    if finished and isinstance(results[0], Exception):
        if stop.is_set() and isinstance(results[0], Failure):
            return False  # the stop is why it failed
        raise results[0]
    return finished
