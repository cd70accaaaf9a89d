"""A process of the mesh as a child of the test: its port, what it says, its exit code and its log. What it does is in
mesh_process.py."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ragmesh_servicekit.channel import MeshChannel, open_channel
from ragmesh_servicekit.tokens import TokenMinter
from support.mesh_server import KEYS

TESTS = Path(__file__).parents[1]
SCRIPT = Path(__file__).with_name("mesh_process.py")
KEY = "k1:" + base64.urlsafe_b64encode(KEYS["k1"]).decode().rstrip("=")


@dataclass
class Child:
    """A process of the mesh. `port`: of gRPC, once it serves; `err`: its standard error, once it has ended."""

    process: asyncio.subprocess.Process
    port: int = 0
    err: str = ""
    said: list[str] = field(default_factory=list)

    async def hear(self, word: str) -> str:
        """Wait for a line that begins with `word`."""
        assert self.process.stdout is not None
        async with asyncio.timeout(10):
            while line := (await self.process.stdout.readline()).decode().strip():
                self.said.append(line)
                if line.startswith(word):
                    return line
        raise AssertionError(f"it never said {word}: {self.said}")

    async def serving(self) -> Child:
        self.port = int((await self.hear("serving")).split()[1])
        return self

    async def end(self) -> int:
        """Its exit code."""
        async with asyncio.timeout(10):
            out, err = await self.process.communicate()
        self.said += out.decode().split("\n")[:-1]
        self.err = err.decode()
        assert self.process.returncode is not None
        return self.process.returncode

    def logged(self) -> list[dict[str, object]]:
        """Its log; every line of it must be JSON."""
        return [json.loads(line) for line in self.err.splitlines()]

    def channel(self) -> MeshChannel:
        return open_channel(f"127.0.0.1:{self.port}", "test", TokenMinter(KEYS))


@asynccontextmanager
async def child(mode: str = "serve", **variables: str) -> AsyncIterator[Child]:
    """Start one; whatever is left of it in the end is killed."""
    defaults = {
        "PYTHONPATH": str(TESTS),
        "RAGMESH_IDENTITY_KEYS": KEY,
        "RAGMESH_ADMIN_PORT": "0",
        "RAGMESH_DRAIN_SECONDS": "0",
        "RAGMESH_GRACE_SECONDS": "5",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(SCRIPT),
        mode,
        env={"PATH": os.environ["PATH"], **defaults, **variables},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield Child(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
