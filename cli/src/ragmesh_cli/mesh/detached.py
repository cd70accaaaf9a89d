"""A mesh in the background: `ragmesh up` again, in a session of its own, awaited until it serves."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

from ragmesh_cli.failure import Failure
from ragmesh_cli.home import Home
from ragmesh_cli.terminal import errors, say

WAIT_SECONDS = 180.0
STOP_SECONDS = 60.0
PREFIX = "ragmesh: "
"""How the command line begins a failure."""


def start(home: Home, arguments: Sequence[str]) -> None:
    """Return when the mesh serves. arguments: those of this `ragmesh up --detach`. Raises Failure with the reason that
    the mesh gave when it could not start; Ctrl-C stops it again."""
    log = home.logs / "supervisor.log"
    command = [sys.executable, "-m", "ragmesh_cli", *(a for a in arguments if a != "--detach")]
    offset = log.stat().st_size if log.exists() else 0
    with log.open("ab") as output:
        child = subprocess.Popen(  # noqa: S603  # our own program with the user's own arguments
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        state = _await(home, child, log_tail=lambda: log.read_bytes()[offset:].decode("utf-8", "replace"))
    except BaseException:
        if child.poll() is None:
            child.terminate()
            child.wait(STOP_SECONDS)
        raise
    say("ragmesh is ready")
    say(f"  REST     {state['rest']}  (pages: {state['rest']}/docs)")
    say(f"  gRPC     {state['grpc']}")
    say(f"  key      in {state['key_file']}")
    say(f"  logs     {home.logs}")
    say("`ragmesh down` stops it.")


def _await(home: Home, child: subprocess.Popen[bytes], log_tail: Callable[[], str]) -> dict[str, Any]:
    deadline = time.monotonic() + WAIT_SECONDS
    with errors.status("starting ragmesh") if errors.is_terminal else nullcontext():
        while time.monotonic() < deadline:
            state = home.running()
            if state is not None and state["pid"] == child.pid and state["ready"]:
                return state
            if child.poll() is not None:
                reasons = [line for line in log_tail().splitlines() if line.startswith(PREFIX)]
                why = reasons[-1].removeprefix(PREFIX) if reasons else f"it ended with code {child.returncode}"
                code = child.returncode if child.returncode > 0 else 1
                raise Failure(why if reasons else f"{why}; see {home.logs}", code)
            time.sleep(0.05)
    raise Failure(f"the mesh did not get ready within {WAIT_SECONDS:g} s; see {home.logs}")
