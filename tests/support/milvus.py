"""A real embedded Milvus for tests, started as the supervisor starts it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import Message

from ragmesh_backends.vectors.contract import SERVICE
from ragmesh_cli.stores import milvus_lite


class MilvusProcess:
    """The store of one home. start() returns when it accepts calls; kill() is SIGKILL."""

    def __init__(self, home: Path) -> None:
        self._command = milvus_lite.command(home)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return self._command.address

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        command = self._command
        assert command.cwd is not None
        command.cwd.mkdir(parents=True, exist_ok=True)
        command.log_path.parent.mkdir(parents=True, exist_ok=True)
        with command.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command.argv,
                env={**os.environ, **command.env},
                cwd=command.cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def ready(self, timeout_seconds: float = 10.0) -> None:
        await milvus_lite.wait_ready(self.address, timeout_seconds)

    def start_and_wait(self) -> None:
        """For fixtures outside a loop."""
        self.start()
        asyncio.run(self.ready())

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def method(work: Callable[[Any, Any], Awaitable[Message]], request: type[Message]) -> grpc.RpcMethodHandler[Any, Any]:
    """A method of Milvus that `work` answers."""
    return grpc.unary_unary_rpc_method_handler(work, request.FromString, lambda reply: reply.SerializeToString())


@asynccontextmanager
async def answering(methods: Mapping[str, grpc.RpcMethodHandler[Any, Any]]) -> AsyncIterator[str]:
    """`host:port` of a server that has these methods of Milvus."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, dict(methods)),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)
