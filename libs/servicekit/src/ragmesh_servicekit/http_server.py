"""An HTTP server inside a process that has its own signals and its own shutdown."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from starlette.types import ASGIApp

from ragmesh_servicekit.ports import PortTaken, describe_taken

KEEP_ALIVE_SECONDS = 75


class HttpServer:
    """uvicorn with signals left alone. `port` is the one it listens on; `task` ends when it does."""

    def __init__(self, server: uvicorn.Server, listener: socket.socket, task: asyncio.Task[None]) -> None:
        self._server, self._listener, self.task = server, listener, task
        self.port: int = listener.getsockname()[1]

    async def stop(self, grace_seconds: float) -> None:
        """Take no more, let requests finish, then end them."""
        self._server.config.timeout_graceful_shutdown = max(1, round(grace_seconds))
        self._server.should_exit = True
        await asyncio.wait({self.task}, timeout=grace_seconds + 2)


@asynccontextmanager
async def http_server(
    app: ASGIApp, host: str, port: int, variable: str, tls: ssl.SSLContext | None = None
) -> AsyncIterator[HttpServer]:
    """Serve `app` until the context ends, by HTTPS with `tls`. Raises PortTaken naming the variable that chose the
    port."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise PortTaken(describe_taken(variable, host, port, error)) from error
    listener.listen(1024)
    listener.setblocking(False)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=5,
        server_header=False,
        ws="none",
        h11_max_incomplete_event_size=64 * 1024,
        ssl_context_factory=None if tls is None else lambda *_: tls,
    )
    server = _QuietServer(config)
    task = asyncio.create_task(server.serve(sockets=[listener]), name=f"http-{port}")
    running = HttpServer(server, listener, task)
    try:
        yield running
    finally:
        await running.stop(1.0)
        if not task.done():
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        listener.close()


class _QuietServer(uvicorn.Server):
    """Signals are the process's own."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
