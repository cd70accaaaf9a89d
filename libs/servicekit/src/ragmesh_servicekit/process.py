"""One process of the mesh: start, serve, drain.

    async with Process("retriever", settings.process) as process:
        vectors = await process.enter(...)       # resources, closed in reverse
        add_..._to_server(servicer, process.server)
        process.spawn("sweeper", sweeper.run())  # named tasks; one that dies stops the process
        await process.serve()

Shutdown order: not ready -> hooks that stop taking work -> still serving while balancers notice -> health watches end,
`server.stop(grace)` -> handlers that grpc forgot are awaited -> hooks give work back -> tasks are cancelled ->
resources close in reverse -> spans are flushed. The first SIGTERM or SIGINT drains (or, while starting, closes what is
open), the second exits with 128 + its number. Every step is bounded; one that fails does not keep the others from
running.
"""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import sys
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from importlib.metadata import version
from types import TracebackType
from typing import Any, TypeVar

import grpc.aio
import structlog
import uvloop
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from ragmesh_servicekit.admin import admin_app
from ragmesh_servicekit.errors import MeshError
from ragmesh_servicekit.health import Check, Health
from ragmesh_servicekit.health_port import health_port
from ragmesh_servicekit.http_server import HttpServer, http_server
from ragmesh_servicekit.interceptors.registry import HandlerRegistry
from ragmesh_servicekit.interceptors.server import (
    DEFAULT_SECONDS,
    DEFAULT_STREAM_SECONDS,
    MeshServerInterceptor,
)
from ragmesh_servicekit.logs import configure_logs
from ragmesh_servicekit.opening import Opening, StartRefused
from ragmesh_servicekit.ports import PortTaken, describe_taken, refuse_taken
from ragmesh_servicekit.process_settings import ProcessSettings, PublicTlsSettings
from ragmesh_servicekit.resilience.breaker import AsyncBreaker, BreakerPolicy
from ragmesh_servicekit.resilience.endpoint import endpoint_of
from ragmesh_servicekit.resilience.guard import MAX_CONCURRENT, SLOW_SHARE, Guard
from ragmesh_servicekit.settings import SettingsError
from ragmesh_servicekit.starting import await_dependencies
from ragmesh_servicekit.telemetry import metrics
from ragmesh_servicekit.telemetry.event_loop import watch_event_loop
from ragmesh_servicekit.telemetry.setup import configure_tracing, flush
from ragmesh_servicekit.tls.peers import web_context
from ragmesh_servicekit.tls.surfaces import Surfaces
from ragmesh_servicekit.tokens import TokenVerifier

log = structlog.get_logger()
T = TypeVar("T")
_SIGNALS = (signal.SIGTERM, signal.SIGINT)

FLUSH_SECONDS = 1.5
FORGOTTEN_SECONDS = 2.0
"""For handlers that still run when grpc says that all calls have ended."""
CLOSE_SECONDS = 10.0
"""For tasks to end and resources to close."""


class TaskDied(Exception):
    """A task of the process ended with an error, which is the cause of this one and was logged when it happened."""


class Process:
    """The parts that every process has, put together. `name` is the service's, and the audience of its tokens;
    `services` are the full names that reflection shows; call_seconds and stream_seconds are the deadline of a call that
    names none, without and with a stream in it; `stop` is set from outside in tests; public_tls: of a process whose
    ports are for everybody."""

    def __init__(
        self,
        name: str,
        settings: ProcessSettings,
        *,
        grpc_port: int,
        verify_identity: bool = True,
        services: tuple[str, ...] = (),
        call_seconds: float = DEFAULT_SECONDS,
        stream_seconds: float = DEFAULT_STREAM_SECONDS,
        stop: asyncio.Event | None = None,
        public_tls: PublicTlsSettings | None = None,
    ) -> None:
        self.name = name
        self.settings = settings
        self.registry = HandlerRegistry()
        self.health = Health(name)
        self._grpc_port = grpc_port
        self._verify_identity = verify_identity
        self._services = services
        self._public_tls = public_tls
        self._call_seconds, self._stream_seconds = call_seconds, stream_seconds
        self._stack = AsyncExitStack()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._on_drain: list[Callable[[], Awaitable[None]]] = []
        self._after_drain: list[Callable[[], Awaitable[None]]] = []
        self._https: list[HttpServer] = []
        self._http_to_serve: list[Callable[[], Awaitable[None]]] = []
        self._stop = stop or asyncio.Event()
        self._openings: list[Opening] = []
        self._failure: TaskDied | StartRefused | None = None
        self._starting: asyncio.Task[Any] | None = None
        self._signalled = False
        self._provider: Any = None
        self.tls: Surfaces
        self.server: grpc.aio.Server
        self.port = grpc_port

    async def __aenter__(self) -> Process:
        metrics.BUILD.labels(self.name, version("ragmesh-servicekit")).set(1)
        telemetry = self.settings.telemetry
        configure_logs(self.name, telemetry.instance, telemetry.log_level)
        self._provider = configure_tracing(
            self.name, telemetry.instance or self.name, telemetry.otlp_endpoint, telemetry.sample_ratio
        )
        self.tls = Surfaces.read(self.settings.tls, self._public_tls)
        verifier = TokenVerifier(self.settings.identity.parsed(), self.name) if self._verify_identity else None
        self.server = grpc.aio.server(
            interceptors=[MeshServerInterceptor(self.registry, verifier, self._call_seconds, self._stream_seconds)],
            options=self._options(),
        )
        health_pb2_grpc.add_HealthServicer_to_server(self.health.servicer, self.server)
        self._starting = asyncio.current_task()
        for number in _SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self._on_signal, number)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        stopped_in_start = self._starting is not None and self._signalled and kind is asyncio.CancelledError
        if stopped_in_start and self._starting is not None:
            self._starting.uncancel()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.server.stop(None)  # has happened, unless the start or serving was broken off
                await self._end_tasks()
                await self._stack.aclose()
        except TimeoutError:
            log.error("close.gave_up", after_seconds=CLOSE_SECONDS)
        finally:
            if self._provider is not None:
                await asyncio.to_thread(flush, self._provider, FLUSH_SECONDS)
            for number in _SIGNALS:
                asyncio.get_running_loop().remove_signal_handler(number)
        return stopped_in_start

    async def _end_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _options(self) -> list[tuple[str, int]]:
        server = self.settings.server
        age = int(server.connection_age_seconds * 1000)
        return [
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", server.max_message_bytes),
            ("grpc.max_send_message_length", server.max_message_bytes),
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 5_000),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
            ("grpc.http2.max_ping_strikes", 0),
            ("grpc.max_connection_age_ms", age),
            ("grpc.max_connection_age_grace_ms", 3_600_000),
        ]

    # -- composing ---------------------------------------------------------------------------------

    async def enter(self, resource: AbstractAsyncContextManager[T]) -> T:
        """Open a resource; it closes in reverse order when the process ends."""
        return await self._stack.enter_async_context(resource)

    def closing(self, resource: T, close: Callable[[], Awaitable[object]]) -> T:
        """Keep a resource that is open already and close it with the others."""
        self._stack.push_async_callback(close)
        return resource

    def check(self, name: str, probe: Callable[[], Awaitable[object]], login: str = "") -> None:
        """Watch a dependency. login: the settings of the sign-in there; while the process starts, a refusal of it ends
        the process."""
        self.health.add(Check(name, probe, login=login))

    def opens(self, name: str, look: Callable[[], Awaitable[object]], *guards: Guard) -> None:
        """Open a store as soon as it answers: see `Opening`. The start waits for it as for all dependencies."""
        opening = Opening(name, look, *guards)
        self._openings.append(opening)
        self.spawn(f"open-{name}", opening.run())

    def guard(
        self,
        name: str,
        url: str,
        *,
        max_concurrent: int = MAX_CONCURRENT,
        slow_share: float = SLOW_SHARE,
        open_seconds: float | None = None,
    ) -> Guard:
        """The guard of a dependency, with a breaker by the settings, which the health report shows. url: where it is;
        what is secret in it is left out. open_seconds: instead of the settings'.

        What is in this process (no URL) or a file of this host gets no breaker: it does not come and go as a server
        does, and nobody is spared by not asking it."""
        endpoint = endpoint_of(url)
        breaker = None
        if url and not url.startswith(("sqlite:", "file:")):
            settings = self.settings.breaker
            policy = BreakerPolicy(settings.failures, open_seconds or settings.open_seconds, settings.successes)
            breaker = AsyncBreaker(name, endpoint, policy)
            self.health.show(breaker)
        return Guard(name, endpoint, breaker=breaker, max_concurrent=max_concurrent, slow_share=slow_share)

    def spawn(self, name: str, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a task for as long as the process lives. One that ends with an error stops the process with it."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

    def on_drain(self, hook: Callable[[], Awaitable[None]]) -> None:
        """Run when draining begins: stop taking new work."""
        self._on_drain.append(hook)

    def after_drain(self, hook: Callable[[], Awaitable[None]]) -> None:
        """Run when no call is left: give unfinished work back."""
        self._after_drain.append(hook)

    def drain_beside_calls(self, name: str, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """Run `work` from the begin of draining on, while calls in flight finish, and wait for it after them."""
        started: list[asyncio.Task[Any]] = []

        async def begin() -> None:
            started.append(asyncio.create_task(work(), name=name))

        async def end() -> None:
            await asyncio.gather(*started)

        self.on_drain(begin)
        self.after_drain(end)

    def serve_http(self, app: Any, host: str, port: int, variable: str) -> None:
        """Serve HTTP to everybody, from when gRPC is served, and drained with it: who comes earlier finds nobody, and
        asks another replica. Raises PortTaken."""
        refuse_taken(variable, host, port)

        async def serve() -> None:
            tls = None if self.tls.public is None else web_context(self.tls.public)
            self._https.append(await self._open_http(app, host, port, variable, tls))

        self._http_to_serve.append(serve)

    async def _open_http(
        self, app: Any, host: str, port: int, variable: str, tls: ssl.SSLContext | None = None
    ) -> HttpServer:
        server = await self.enter(http_server(app, host, port, variable, tls))
        server.task.add_done_callback(self._task_done)
        return server

    def _task_done(self, task: asyncio.Task[Any]) -> None:
        if task.cancelled() or task.exception() is None:
            return
        error = task.exception()
        if isinstance(error, StartRefused):
            log.error("start.refused", task=task.get_name(), message=error.message)
            self._failure = self._failure or error
        else:
            log.error("task.died", task=task.get_name(), exc_info=error)
        if self._failure is None:
            self._failure = TaskDied(f"the task {task.get_name()} died of {type(error).__name__}")
            self._failure.__cause__ = error
        self._stop.set()

    # -- serving -----------------------------------------------------------------------------------

    async def serve(self) -> None:
        """Start, serve until the first signal or the death of a task, drain. Raises TaskDied, StartRefused,
        or PortTaken."""
        admin = self.settings.admin
        await self._open_http(admin_app(self.health), admin.host, admin.port, "RAGMESH_ADMIN_PORT")
        await self.enter(health_port(self.health, self.settings.server.host, self.settings.server.health_port))
        self._bind()
        for name, rotation in self.tls.rotations():
            self.spawn(f"tls-{name}", rotation.watch())
        await await_dependencies(self.health, self._openings, self._stop)
        if self._failure is not None:
            raise self._failure  # before anybody was told that this process is ready
        self.spawn("health", self.health.watch())
        self.spawn("event-loop-lag", watch_event_loop())
        for serve in self._http_to_serve:
            await serve()
        await self.server.start()
        await self.health.set_ready(True)
        self._starting = None
        log.info("serving", port=self.port)
        await self._stop.wait()
        await self._drain()
        if self._failure is not None:
            raise self._failure

    def _bind(self) -> None:
        server = self.settings.server
        refuse_taken("RAGMESH_GRPC_PORT", server.host, self._grpc_port)
        host = f"[{server.host}]" if ":" in server.host else server.host
        credentials, address = self.tls.credentials(), f"{host}:{self._grpc_port}"
        try:
            if credentials is None:
                self.port = self.server.add_insecure_port(address)
            else:
                self.port = self.server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise PortTaken(describe_taken("RAGMESH_GRPC_PORT", server.host, self._grpc_port)) from error
        if server.reflection:
            names = [*self._services, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name]
            reflection.enable_server_reflection([*names, reflection.SERVICE_NAME], self.server)

    def _on_signal(self, number: signal.Signals) -> None:
        if self._signalled:
            os._exit(128 + number)
        self._signalled = True
        log.info("stopping", signal=number.name)
        self._stop.set()
        if self._starting is not None:
            self._starting.cancel()  # what has been opened closes; nothing was served yet

    async def _drain(self) -> None:
        server = self.settings.server
        log.info("draining", in_flight=len(self.registry))
        await self.health.drain()
        await self._run_hooks(self._on_drain)
        await asyncio.sleep(server.drain_seconds)
        self.health.servicer.end_watches()
        await asyncio.gather(
            self.server.stop(server.grace_seconds), *(http.stop(server.grace_seconds) for http in self._https)
        )
        if not await self.registry.wait(FORGOTTEN_SECONDS):
            log.warning("drain.handlers_cancelled")
        await self._run_hooks(self._after_drain)
        log.info("drained")

    async def _run_hooks(self, hooks: list[Callable[[], Awaitable[None]]]) -> None:
        """All of them: one that fails or takes longer than calls may is logged, and makes the exit code 1."""
        for hook in hooks:
            try:
                async with asyncio.timeout(self.settings.server.grace_seconds + 1):
                    await hook()
            except Exception as error:
                log.error("drain.hook_failed", exc_info=error)
                if self._failure is None:
                    self._failure = TaskDied(f"draining failed with {type(error).__name__}")
                    self._failure.__cause__ = error


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """The entry of every `__main__`: uvloop, and the exit code: 0 after draining; 2 with a line for each thing that the
    operator must mend; 1 for a fault of ours, which the log holds."""
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main())
    except SettingsError as error:
        sys.exit(_fail(error.problems))
    except (PortTaken, StartRefused) as error:
        sys.exit(_fail((str(error),)))
    except MeshError as error:
        sys.exit(_fail((error.message,)))
    except TaskDied:
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if not structlog.is_configured():
            raise
        log.critical("process.failed", exc_info=error)
        sys.exit(1)


def _fail(problems: tuple[str, ...]) -> int:
    for problem in problems:
        sys.stderr.write(f"{problem}\n")
    return 2
