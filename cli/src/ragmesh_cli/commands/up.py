"""`ragmesh up`: start the mesh and keep it running."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click

from ragmesh_cli.commands.shared import home_of, home_option
from ragmesh_cli.failure import Failure
from ragmesh_cli.home import Home, HomeLock
from ragmesh_cli.mesh.plan import Options, make_plan
from ragmesh_cli.mesh.supervisor import Supervisor
from ragmesh_cli.terminal import interactive, note, say
from ragmesh_cli.welcome import Welcome
from ragmesh_servicekit.api_key import new_key

DETACH_WAIT_SECONDS = 180.0


@click.command()
@home_option
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--rest-port", type=click.IntRange(1, 65535), default=8080, show_default=True)
@click.option("--grpc-port", type=click.IntRange(1, 65535), default=9090, show_default=True)
@click.option("--free-ports", is_flag=True, help="Let the system pick every port.")
@click.option(
    "--replicas", default="", metavar="NAME=N,...", help="How many of each service, as retriever=2,generator=2."
)
@click.option("--detach", is_flag=True, help="Return when everything serves; `ragmesh down` stops it.")
@click.option("--ingest", type=click.Path(path_type=Path, exists=True), help="Ingest this folder once it serves.")
@click.option("--ask", "question", help="Ask this once the folder is ingested.")
def up(
    home: Path | None,
    host: str,
    rest_port: int,
    grpc_port: int,
    free_ports: bool,
    replicas: str,
    detach: bool,
    ingest: Path | None,
    question: str | None,
) -> None:
    """Start the mesh: its stores and services, on this machine, without a key or a network.

    Stays until Ctrl-C, which drains and stops everything; a second Ctrl-C stops at once. With --ask and without a
    terminal it stops after the answer."""
    options = Options(host, rest_port, grpc_port, free_ports, _replicas(replicas))
    place = home_of(home)
    if detach:
        if ingest or question:
            raise click.UsageError("--detach goes without --ingest and --ask; run `ragmesh ingest` afterwards")
        _detach(place, sys.argv[1:])
        return
    welcome = Welcome(ingest, question) if ingest or question else None
    raise SystemExit(asyncio.run(_run(place, options, welcome)))


def _replicas(text: str) -> dict[str, int]:
    result: dict[str, int] = {}
    for part in filter(None, text.split(",")):
        name, _, count = part.partition("=")
        if not count.isdigit():
            raise click.UsageError(f"--replicas: {part!r} must be NAME=N, as in retriever=2,generator=2")
        result[name.strip()] = int(count)
    return result


async def _run(home: Home, options: Options, welcome: Welcome | None) -> int:
    home.prepare()
    lock = HomeLock(home)
    lock.acquire(note)
    if not home.key_file.exists():
        home.write_admin_key(new_key())
    started = time.monotonic()
    supervisor = Supervisor(home, lock, make_plan(home, options, os.environ), note)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    main = asyncio.current_task()
    assert main is not None
    signals = 0

    def on_signal(number: signal.Signals) -> None:
        nonlocal signals
        signals += 1
        if signals > 1:
            supervisor.kill()
            os._exit(128 + number)
        note("stopping: letting requests finish (again to stop at once)")
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal, number)
    say(f"starting ragmesh in {home.path}")
    failure: Failure | None = None
    try:
        serving = await _unless(stop, supervisor.start())
        if serving:
            plan = supervisor.plan
            say(f"ragmesh is ready after {time.monotonic() - started:.1f} s")
            say(f"  REST and docs  {plan.rest}/docs")
            say(f"  gRPC           {plan.grpc}")
            say(f"  key            {home.key_file.read_text().strip()}")
            say(f"  logs           {home.logs}")
            answered = welcome is None or await _unless(stop, welcome.run(home))
            if welcome is None or interactive():
                if answered:
                    say("Ctrl-C stops it.")
                await stop.wait()
    except Failure as error:
        failure = error
    clean = await supervisor.stop()
    if failure is not None:
        raise failure
    note("stopped" if clean else "stopped; a process did not stop by itself in time and was killed (see the logs)")
    return 0 if clean else 1


async def _unless(stop: asyncio.Event, work: object) -> bool:
    """Run work, but not past the stop. True when it finished; what it raises is raised."""
    task = asyncio.ensure_future(work)  # type: ignore[call-overload]  # a coroutine of any result
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
            return True
        return False
    finally:
        for each in (task, stopping):
            each.cancel()
        await asyncio.gather(task, stopping, return_exceptions=True)


def _detach(home: Home, arguments: Sequence[str]) -> None:
    home.prepare()
    running = home.running_still()
    if running is not None:
        raise Failure(f"a mesh is already running on {home.path} (pid {running['pid']}, {running['rest']})")
    log = home.logs / "supervisor.log"
    command = [sys.executable, "-m", "ragmesh_cli", *(a for a in arguments if a != "--detach")]
    offset = log.stat().st_size if log.exists() else 0
    with log.open("ab") as output:
        child = subprocess.Popen(  # noqa: S603  # our own program with the user's own arguments
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    deadline = time.monotonic() + DETACH_WAIT_SECONDS
    while time.monotonic() < deadline:
        state = home.running()
        if state is not None and state["pid"] == child.pid and state["ready"]:
            say(f"ragmesh is ready: {state['rest']} (gRPC {state['grpc']}, key in {state['key_file']})")
            return
        if child.poll() is not None:
            said = log.read_bytes()[offset:].decode("utf-8", "replace").strip().splitlines()
            lines = [line for line in said if not line.startswith("starting ragmesh")]
            raise Failure("\n".join(lines[-4:]) or f"the supervisor ended with code {child.returncode}; see {log}")
        time.sleep(0.05)
    raise Failure(f"the mesh did not get ready within {DETACH_WAIT_SECONDS:g} s; see {log} and `ragmesh status`")
