"""`ragmesh down`: drain and stop the mesh of a home."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

import click
import psutil

from ragmesh_cli.commands.shared import home_of, home_option
from ragmesh_cli.failure import Failure
from ragmesh_cli.terminal import say

WAIT_SECONDS = 120.0


@click.command(short_help="Stop the mesh, letting requests finish.")
@home_option
def down(home: Path | None) -> None:
    """Stop the mesh that runs in the home, letting requests finish."""
    place = home_of(home)
    state = place.running()
    if state is None:
        say(f"no mesh is running on {place.path}")
        return
    process = psutil.Process(int(state["pid"]))
    with suppress(psutil.NoSuchProcess):
        process.terminate()
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        if _gone(process):
            say("stopped")
            return
        time.sleep(0.05)
    raise Failure(f"the mesh (pid {process.pid}) did not stop within {WAIT_SECONDS:g} s; see {place.logs}")


def _gone(process: psutil.Process) -> bool:
    """Whether it has ended; one that nobody has reaped yet has."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
