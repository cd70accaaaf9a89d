"""One child process of the mesh: started with its output in a log file, watched, stopped."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import re
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from ragmesh_cli.failure import Failure

_PR_SET_PDEATHSIG = 1
OPERATOR_MUST_MEND = 2
"""The exit code of ragmesh_servicekit.process for a wrong setting or a taken port."""

_LOGGED = re.compile(r"\{|[IWEF]\d{4} ")
"""The begin of a line that is an event, or gRPC's."""

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
        self._log_start = 0  # bytes in the log when the process was started

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
        self._log_start = os.fstat(log).st_size
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

    def why_it_ended(self, code: int) -> str:
        """One line: how it ended and what it said of the reason. Exit code 2 is how a service says that the operator
        must mend something; then its own sentences are all there is to say."""
        output = self._output()
        said = [line for line in map(_plain, output) if line]
        if code == OPERATOR_MUST_MEND and said:
            own = [line.strip() for line in output if line.strip() and not _LOGGED.match(line)]
            return f"{self.name}: {'; '.join(dict.fromkeys((own or said)[-3:]))}"
        last = f": {said[-1][:300]}" if said and code >= 0 else ""
        return f"{self.name} {describe_exit(code)}{last} (log: {self.log_path})"

    def _output(self) -> list[str]:
        """The end of what it wrote since it was started."""
        try:
            with self.log_path.open("rb") as file:
                file.seek(max(self._log_start, self.log_path.stat().st_size - 8192))
                return file.read().decode("utf-8", "replace").splitlines()
        except OSError:
            return []


def _plain(line: str) -> str:
    """A line of a log for people: of a JSON event, its name and the last line of its exception."""
    try:
        event = json.loads(line)
    except ValueError:
        return line.strip()
    if not isinstance(event, dict):
        return line.strip()
    exception = str(event.get("exception") or event.get("error") or "").strip().splitlines()
    return ": ".join([str(event.get("event", "")), *exception[-1:]])


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
