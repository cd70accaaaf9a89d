"""Signals to the processes of a mesh, by their names, and waiting until what was hit is back.

The supervisor writes `mesh.json`, which names each process with its pid; a process is back when the file has another
pid for it and it answers. Times are seconds of CLOCK_MONOTONIC.
"""

from __future__ import annotations

import asyncio
import signal
import time
from dataclasses import dataclass

import httpx
import psutil

from ragmesh_cli.stores import milvus_lite, redis_server
from ragmesh_servicekit.errors import MeshError
from support.mesh import Mesh
from support.waiting import until

POLL_SECONDS = 0.02
BACK_SECONDS = 90.0


@dataclass(slots=True)
class Fault:
    """What was done to which process. gone: when the old process had ended. back: when it, or its successor, served."""

    name: str
    signal: str
    at: float
    gone: float = 0.0
    back: float = 0.0


class Faults:
    """The faults of one run, in order, in `log`."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self.log: list[Fault] = []

    async def terminate(self, name: str) -> Fault:
        """SIGTERM, and wait until its successor serves."""
        return await self._end(name, signal.SIGTERM)

    async def kill(self, name: str) -> Fault:
        """SIGKILL, and wait until its successor serves."""
        return await self._end(name, signal.SIGKILL)

    async def stop(self, name: str, seconds: float = 10.0) -> Fault:
        """SIGSTOP, and SIGCONT after `seconds`."""
        process = self._mesh.process_named(name)
        fault = self._begin(name, signal.SIGSTOP)
        process.send_signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            process.send_signal(signal.SIGCONT)
        fault.gone = time.monotonic()
        await self._ready(name)
        fault.back = time.monotonic()
        return fault

    def _begin(self, name: str, number: signal.Signals) -> Fault:
        fault = Fault(name, number.name, time.monotonic())
        self.log.append(fault)
        return fault

    async def _end(self, name: str, number: signal.Signals) -> Fault:
        old = self._mesh.process_named(name)
        fault = self._begin(name, number)
        old.send_signal(number)
        await until(lambda: not _runs(old), BACK_SECONDS)
        fault.gone = time.monotonic()
        await until(lambda: self._mesh.pid_of(name) != old.pid, BACK_SECONDS)
        await self._ready(name)
        fault.back = time.monotonic()
        return fault

    async def _ready(self, name: str) -> None:
        async with asyncio.timeout(BACK_SECONDS):
            while not await self.is_ready(name):  # noqa: ASYNC110  # another process: there is no event
                await asyncio.sleep(POLL_SECONDS)

    async def is_ready(self, name: str) -> bool:
        """Whether the process serves now."""
        (entry,) = [p for p in self._mesh.state()["processes"] if p["name"] == name]
        if entry["admin"]:
            async with httpx.AsyncClient(trust_env=False, timeout=2) as http:
                try:
                    return (await http.get(f"http://{entry['admin']}/readyz")).status_code == 200
                except httpx.TransportError:
                    return False
        wait = milvus_lite.wait_ready if name == "milvus" else redis_server.wait_ready
        try:
            await wait(entry["address"], 1.0)
        except (MeshError, TimeoutError, OSError):
            return False
        return True

    async def all_ready(self) -> None:
        """Wait until every process serves."""
        for entry in self._mesh.state()["processes"]:
            await self._ready(entry["name"])


def rest_addresses(mesh: Mesh) -> list[str]:
    """Where each gateway answers REST, in order."""
    found = []
    for entry in mesh.state()["processes"]:
        if entry["name"].startswith("gateway"):
            port = psutil.Process(entry["pid"]).environ()["RAGMESH_REST_PORT"]
            found.append(f"http://{entry['address'].rpartition(':')[0]}:{port}")
    return found


def grpc_addresses(mesh: Mesh) -> list[str]:
    """Where each gateway answers gRPC, in order."""
    return [entry["address"] for entry in mesh.state()["processes"] if entry["name"].startswith("gateway")]


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
