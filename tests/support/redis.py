"""Real private Redis servers for tests, started as the supervisor starts them."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ragmesh_cli.stores import redis_server
from ragmesh_cli.stores.command import StoreCommand


class RedisProcess:
    """One server of a home. start() returns when it answers; kill() is SIGKILL, and a start after it finds what the
    append-only file holds."""

    def __init__(
        self,
        home: Path,
        make: Callable[[Path], StoreCommand] = redis_server.state_command,
        *options: str,
    ) -> None:
        """options: more arguments for the server; the last of a name counts."""
        command = make(home)
        self._command = replace(command, argv=(*command.argv, *options))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return self._command.address

    @property
    def command(self) -> StoreCommand:
        return self._command

    def launch(self) -> None:
        command = self._command
        assert command.cwd is not None
        command.cwd.mkdir(parents=True, exist_ok=True, mode=0o700)
        command.log_path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with command.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command.argv, cwd=command.cwd, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    async def start(self, timeout_seconds: float = 10.0) -> None:
        self.launch()
        await redis_server.wait_ready(self.address, timeout_seconds)

    def start_and_wait(self) -> None:
        """For fixtures outside a loop."""
        asyncio.run(self.start())

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        assert self._process is not None
        self._process.terminate()
        code = self._process.wait(timeout=10)
        self._process = None
        return code
