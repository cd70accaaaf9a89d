"""The supervisor: starts stores and services in their order, keeps them running, stops them in reverse."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from typing import Any

import psutil

from ragmesh_cli.failure import Failure
from ragmesh_cli.home import Home, HomeLock
from ragmesh_cli.mesh.child import OPERATOR_MUST_MEND, Child
from ragmesh_cli.mesh.health import is_ready
from ragmesh_cli.mesh.patience import Patience
from ragmesh_cli.mesh.plan import Plan, Service
from ragmesh_cli.stores import milvus_lite, redis_server
from ragmesh_cli.stores.command import StoreCommand
from ragmesh_servicekit.errors import MeshError

STORE_READY_SECONDS = 30.0
SERVICE_READY_SECONDS = 120.0  # the first start builds the embedding graph
SERVICE_GRACE_SECONDS = 40.0
STORE_GRACE_SECONDS = 15.0
POLL_SECONDS = 0.05

Say = Callable[[str], None]


class Supervisor:
    """One mesh. `start` returns when everything serves and keeps it so from then on; `stop` drains."""

    def __init__(self, home: Home, lock: HomeLock, plan: Plan, say: Say) -> None:
        self._home, self.plan, self._say = home, plan, say
        self._lock = lock
        self._stores = [(command, self._child_of_store(command)) for command in plan.stores]
        self._inner = [(service, self._child_of_service(service)) for service in plan.inner]
        self._gateways = [(service, self._child_of_service(service)) for service in plan.gateways]
        self._watchers: list[asyncio.Task[None]] = []
        self._waiting: list[str] = []
        self._ready = False

    async def start(self) -> None:
        """Start everything and wait until it serves. Raises Failure that names the process and says what it said; what
        was started is stopped by `stop`."""
        self._write_state()
        services = self._inner + self._gateways
        self._waiting = [child.name for _, child in (*self._stores, *services)]
        await _all(self._start_store(command, child) for command, child in self._stores)
        for _, child in services:
            await child.start()
        self._write_state()
        await _all(self._await_service(service, child) for service, child in services)
        self._home.write_stores(self.plan.places)
        self._ready = True
        self._write_state()
        for command, child in self._stores:
            self._watch(child, self._store_ready(command))
        for service, child in services:
            self._watch(child, self._service_ready(service))

    @property
    def waiting_for(self) -> tuple[str, ...]:
        """The processes that do not serve yet while `start` runs."""
        return tuple(self._waiting)

    async def watch(self) -> None:
        """Never returns; raises what ended a watcher, which nothing should."""
        done, _ = await asyncio.wait(self._watchers, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def stop(self) -> bool:
        """Drain: gateways first, then the inner services, then the stores. True when nothing had to be killed."""
        for task in self._watchers:
            task.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        clean = True
        for group, grace in (
            ([c for _, c in self._gateways], SERVICE_GRACE_SECONDS),
            ([c for _, c in self._inner], SERVICE_GRACE_SECONDS),
            ([c for _, c in self._stores], STORE_GRACE_SECONDS),
        ):
            results = await asyncio.gather(*(child.stop(grace) for child in group))
            clean = clean and all(results)
        with suppress(FileNotFoundError):
            self._home.state_file.unlink()
        return clean

    def kill(self) -> None:
        """The second signal: end everything at once."""
        for _, child in (*self._gateways, *self._inner, *self._stores):
            child.signal(signal.SIGKILL)
        with suppress(OSError):
            self._home.state_file.unlink()

    # -- starting ----------------------------------------------------------------------------------

    def _child_of_store(self, command: StoreCommand) -> Child:
        return Child(command.name, command.argv, command.env, command.log_path, command.cwd, (self._lock.descriptor,))

    def _child_of_service(self, service: Service) -> Child:
        return Child(service.name, service.argv, service.env, service.log_path, None, (self._lock.descriptor,))

    async def _start_store(self, command: StoreCommand, child: Child) -> None:
        await child.start()
        await self._await(child, self._store_ready(command), STORE_READY_SECONDS)
        self._waiting.remove(child.name)

    async def _await_service(self, service: Service, child: Child) -> None:
        await self._await(child, self._service_ready(service), SERVICE_READY_SECONDS)
        self._waiting.remove(child.name)

    def _store_ready(self, command: StoreCommand) -> Callable[[float], Awaitable[None]]:
        module: Any = milvus_lite if command.name == "milvus" else redis_server
        return lambda seconds: module.wait_ready(command.address, seconds)

    def _service_ready(self, service: Service) -> Callable[[float], Awaitable[None]]:
        return lambda seconds: _wait_ready(service.admin, seconds)

    async def _await(self, child: Child, ready: Callable[[float], Awaitable[None]], seconds: float) -> None:
        """Wait for readiness or for the end of the process, whichever is first."""
        probe = asyncio.ensure_future(ready(seconds))
        exit_ = asyncio.ensure_future(child.wait())
        try:
            await asyncio.wait({probe, exit_}, return_when=asyncio.FIRST_COMPLETED)
            if exit_.done():
                code = exit_.result()
                raise Failure(child.why_it_ended(code), OPERATOR_MUST_MEND if code == OPERATOR_MUST_MEND else 1)
            try:
                probe.result()
            except (MeshError, TimeoutError) as error:
                raise Failure(f"{child.name} did not get ready within {seconds:g} s (log: {child.log_path})") from error
        finally:
            for task in (probe, exit_):
                task.cancel()
            await asyncio.gather(probe, exit_, return_exceptions=True)

    # -- keeping it running ------------------------------------------------------------------------

    def _watch(self, child: Child, ready: Callable[[float], Awaitable[None]]) -> None:
        self._watchers.append(asyncio.create_task(self._keep(child, ready), name=f"watch-{child.name}"))

    async def _keep(self, child: Child, ready: Callable[[float], Awaitable[None]]) -> None:
        patience = Patience()
        while True:
            code = await child.wait()
            pause = patience.pause_seconds(code, time.monotonic() - child.started_at)
            self._say(f"{child.why_it_ended(code)}; restarting {f'in {pause:g} s' if pause else 'at once'}")
            self._write_state()
            await asyncio.sleep(pause)
            try:
                await child.start()
                child.restarts += 1
                self._write_state()
                await self._await(child, ready, SERVICE_READY_SECONDS)
            except Failure as failure:
                self._say(str(failure))
                continue
            self._say(f"{child.name} is back")

    def _write_state(self) -> None:
        parts: list[tuple[Service | StoreCommand, Child]] = [*self._gateways, *self._inner, *self._stores]
        processes = [
            {
                "name": child.name,
                "pid": child.pid,
                "restarts": child.restarts,
                "log": str(child.log_path),
                "admin": part.admin if isinstance(part, Service) else "",
                "address": part.address,
            }
            for part, child in parts
        ]
        state: Mapping[str, Any] = {
            "pid": os.getpid(),
            "started": psutil.Process().create_time(),
            "ready": self._ready,
            "rest": self.plan.rest,
            "grpc": self.plan.grpc,
            "public_tls": self.plan.public_tls,
            "key_file": str(self._home.key_file),
            "processes": processes,
        }
        self._home.write_state(state)


async def _all(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run all of it; the first failure cancels the rest and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            for each in work:
                group.create_task(each)
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None


async def _wait_ready(admin: str, seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while not await asyncio.to_thread(is_ready, admin):  # noqa: ASYNC110  # another process: there is no event
            await asyncio.sleep(POLL_SECONDS)
