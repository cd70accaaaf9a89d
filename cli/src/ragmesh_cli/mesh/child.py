"""One child process of the mesh: started with its output in a log file, watched, stopped."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from ragmesh_cli.failure import Failure

_PR_SET_PDEATHSIG = 1
LOG_LIMIT_BYTES = 20 * 1024 * 1024
"""A log larger than this at start is kept once as `.old`."""


class Child:
    """name: as `ragmesh status` shows it. inherited: descriptors that the child keeps (the lock of the home)."""

    def __init__(
        self,
        name: str,
        argv: tuple[str, ...],
        env: Mapping[str, str],
        log_path: Path,
        cwd: Path | None = None,
        inherited: tuple[int, ...] = (),
    ) -> None:
        self.name = name
        self.log_path = log_path
        self._argv, self._env, self._cwd, self._inherited = argv, dict(env), cwd, inherited
        self._process: asyncio.subprocess.Process | None = None
        self.started_at = 0.0
        self.restarts = 0

    @property
    def pid(self) -> int:
        return self._process.pid if self._process is not None else 0

    @property
    def exit_code(self) -> int | None:
        return self._process.returncode if self._process is not None else None

    async def start(self) -> None:
        """Start it. Raises Failure when the program cannot be run."""
        for folder in (self.log_path.parent, self._cwd):
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self.log_path.exists() and self.log_path.stat().st_size > LOG_LIMIT_BYTES:
            self.log_path.replace(self.log_path.with_suffix(".log.old"))
        log = os.open(self.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._argv,
                env={**os.environ, **self._env},
                cwd=self._cwd,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=self._inherited,
                start_new_session=True,  # Ctrl-C reaches the supervisor only, which stops children in their order
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )
        except OSError as error:
            raise Failure(f"{self.name} cannot be started: {self._argv[0]}: {error.strerror}") from error
        finally:
            os.close(log)
        self.started_at = time.monotonic()

    async def wait(self) -> int:
        """Its exit code, negative for a signal."""
        assert self._process is not None
        return await self._process.wait()

    def signal(self, number: int) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    async def stop(self, grace_seconds: float) -> bool:
        """SIGTERM, and SIGKILL after the grace. True when it went by itself."""
        if self._process is None or self._process.returncode is not None:
            return True
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace_seconds):
                await self._process.wait()
            return True
        except TimeoutError:
            self.signal(signal.SIGKILL)
            await self._process.wait()
            return False

    def last_words(self, lines: int = 5) -> str:
        """The end of its log."""
        try:
            with self.log_path.open("rb") as file:
                file.seek(max(0, self.log_path.stat().st_size - 8192))
                text = file.read().decode("utf-8", "replace")
        except OSError:
            return ""
        return "\n".join(text.strip().splitlines()[-lines:])


def describe_exit(code: int) -> str:
    """`exited with code 1`, `was killed by SIGKILL`."""
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def _die_with_parent() -> None:
    """Ask the kernel for SIGTERM when the supervisor dies, so that a killed supervisor leaves nothing behind."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
