"""One service of the mesh as a process of its own, whose start does not wait 30 s for stores that are away, nor 5 s for
those that refuse it."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from support.mesh_child import KEY

START_SECONDS = 45.0
POLL_SECONDS = 0.05
PROGRAM = """
import sys
from importlib import import_module
from ragmesh_servicekit import process, starting
starting.START_WAIT_SECONDS = float(sys.argv[2])
starting.REFUSED_SECONDS = 0.5
process.run(import_module(sys.argv[1]).main)
"""
NOBODY = "127.0.0.1:1"
"""An address at which nobody listens."""


@dataclass
class ServiceProcess:
    """err: what it wrote, once it has ended."""

    process: asyncio.subprocess.Process
    admin: str
    rest: str
    err: str = ""

    @property
    def said(self) -> str:
        """The last line of that which is not its log."""
        return [line for line in self.err.splitlines() if not line.startswith("{")][-1]

    async def get(self, url: str, **headers: str) -> httpx.Response | None:
        """The reply; None when nobody answers."""
        async with httpx.AsyncClient(trust_env=False, timeout=5) as http:
            try:
                return await http.get(url, headers=headers)
            except httpx.TransportError:
                return None

    async def is_ready(self) -> bool:
        reply = await self.get(f"{self.admin}/readyz")
        return reply is not None and reply.status_code == 200

    async def ready(self) -> None:
        """Wait until it serves."""
        async with asyncio.timeout(START_SECONDS):
            while not await self.is_ready():
                assert self.process.returncode is None, await self.end()
                await asyncio.sleep(POLL_SECONDS)

    async def checks(self) -> dict[str, Any]:
        """The state of each dependency, by its name."""
        reply = await self.get(f"{self.admin}/healthz")
        assert reply is not None
        return {name: check["state"] for name, check in reply.json()["checks"].items()}

    async def turns(self, **states: str) -> None:
        """Wait until dependencies are in these states."""
        async with asyncio.timeout(START_SECONDS):
            while not states.items() <= (await self.checks()).items():  # noqa: ASYNC110  # another process
                await asyncio.sleep(POLL_SECONDS)

    async def end(self) -> int:
        """Wait until it has ended; its exit code."""
        async with asyncio.timeout(START_SECONDS):
            _, err = await self.process.communicate()
        self.err = err.decode()
        assert self.process.returncode is not None
        return self.process.returncode

    async def stop(self) -> int:
        """SIGTERM, and its exit code."""
        self.process.terminate()
        return await self.end()


@asynccontextmanager
async def service(module: str, *, wait_seconds: float = 30.0, **variables: str) -> AsyncIterator[ServiceProcess]:
    """Start `module` (`ragmesh_gateway.app`), which waits at most wait_seconds for its dependencies. Its stores are
    addresses at which nobody listens, unless variables say otherwise. Killed at the end."""
    admin, rest = _free_port(), _free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "RAGMESH_IDENTITY_KEYS": KEY,
        "RAGMESH_HOST": "127.0.0.1",
        "RAGMESH_GRPC_PORT": "0",
        "RAGMESH_REST_PORT": str(rest),
        "RAGMESH_ADMIN_PORT": str(admin),
        "RAGMESH_DRAIN_SECONDS": "0",
        "RAGMESH_GRACE_SECONDS": "1",
        "RAGMESH_RECORDS_URL": f"bolt://{NOBODY}",
        "RAGMESH_VECTORS_URL": NOBODY,
        "RAGMESH_STATE_URL": f"redis://{NOBODY}/0",
        "RAGMESH_CACHE_URL": f"redis://{NOBODY}/1",
        "RAGMESH_MODELS_DIR": "/nowhere",
        "RAGMESH_EMBEDDING_URL": f"http://{NOBODY}/v1",
        "RAGMESH_EMBEDDING_NAME": "m",
        "RAGMESH_EMBEDDING_DIMENSION": "8",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PROGRAM,
        module,
        str(wait_seconds),
        env={**environment, **variables},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield ServiceProcess(process, f"http://127.0.0.1:{admin}", f"http://127.0.0.1:{rest}")
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
