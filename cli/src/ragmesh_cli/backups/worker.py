"""The process that backs up and restores (`python -m ragmesh_ingestor.backup`): started, followed, interrupted. The
command line itself knows no store."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ragmesh_cli.failure import Failure
from ragmesh_cli.mesh.child import describe_exit

MODULE = "ragmesh_ingestor.backup"
STOP_SECONDS = 20.0
"""For taking back what was begun."""

INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM

INCOMPLETE = 3
"""The exit code of a whole backup that lacks documents."""

LINE_BYTES = 64 * 1024 * 1024
"""Of the result, which names every collection."""

Progress = Callable[[str, int, int], None]
"""stage, done, total."""


async def work(environ: Mapping[str, str], arguments: Sequence[str], progress: Progress) -> dict[str, Any]:
    """What the process found. Raises Failure with its sentence, or when SIGTERM came. A caller that is cancelled ends
    it, and it takes back what it began."""
    stopped = _cancel_at_sigterm()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        MODULE,
        *arguments,
        env={**environ, "GRPC_VERBOSITY": "NONE"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=LINE_BYTES,
        start_new_session=True,  # Ctrl-C reaches the command only, which passes it on once
    )
    assert process.stdout is not None
    assert process.stderr is not None
    errors = asyncio.create_task(process.stderr.read(), name="backup.stderr")
    ending: dict[str, Any] = {}
    try:
        async for line in process.stdout:
            facts = json.loads(line)
            if "stage" in facts:
                progress(facts["stage"], facts["done"], facts["total"])
            else:
                ending = facts
        code = await process.wait()
        said = (await errors).decode("utf-8", "replace").strip().splitlines()
    except BaseException as error:
        errors.cancel()
        await asyncio.shield(_stop(process))
        if isinstance(error, asyncio.CancelledError):
            code = TERMINATED if stopped else INTERRUPTED
            if process.returncode in (0, INCOMPLETE):
                raise Failure(f"the {arguments[0]} was complete when the signal came", code) from error
            if stopped:
                raise Failure(f"ended by SIGTERM; {_left_by(arguments[0])}", code) from error
        raise
    if "result" in ending:
        result: dict[str, Any] = ending["result"]
        return result
    if "failure" in ending:
        raise Failure(ending["failure"], code if code > 0 else 1)
    raise Failure(f"the process that does it {describe_exit(code)}{': ' + said[-1][:300] if said else ''}")


def _left_by(task: str) -> str:
    if task == "restore":
        return "the mesh is as it was, unless all was about to be shown just then: look at its collections"
    return "nothing is left of it"


def _cancel_at_sigterm() -> list[int]:
    """Cancel the task in hand when SIGTERM comes; the list then holds it."""
    task, came = asyncio.current_task(), list[int]()
    assert task is not None

    def cancel(task: asyncio.Task[Any] = task) -> None:
        came.append(signal.SIGTERM)
        task.cancel()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, cancel)
    return came


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()  # not SIGINT, which it ignores when a shell put us in the background
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
