"""A child process that is killed in the middle of its writes."""

from __future__ import annotations

import asyncio
import os
import sys


async def run_and_kill(program: str, *arguments: str, after_lines: int) -> int:
    """Run a Python program that prints one line for each acknowledged write and never ends by itself; kill it with
    SIGKILL after so many lines. It finds the same modules as the test. Returns how many lines it had printed in
    all by then."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        program,
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert child.stdout is not None
    try:
        for _ in range(after_lines):
            assert await child.stdout.readline(), "the child ended by itself"
    finally:
        if child.returncode is None:
            child.kill()
        rest = await child.stdout.read()
        await child.wait()
    return after_lines + len(rest.splitlines())
