"""The home: the folder that holds everything of one mesh on one machine, and the lock that keeps it to one."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import stat
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs
import psutil

from ragmesh_cli.failure import Failure

LOCK_WAIT_SECONDS = 30.0
"""After a supervisor was killed its children need a moment to notice and stop; they hold the lock until then."""

LOCK_NOTE_SECONDS = 1.0
"""A mesh that is just going, or has just come and not written its pid yet, is not worth a word."""


def default_home() -> Path:
    """`$RAGMESH_HOME`, or the user's data folder."""
    named = os.environ.get("RAGMESH_HOME", "")
    return Path(named) if named else Path(platformdirs.user_data_dir("ragmesh"))


HOME_VERSION = 1
"""Of the home's own files and folders; each store in it counts its own. A home without the file `version` was made
before there were versions, and is 1."""


@dataclass(frozen=True, slots=True)
class Home:
    """Paths below the home. The folder is 0700 and everything secret in it 0600."""

    path: Path

    @property
    def lock_file(self) -> Path:
        return self.path / "lock"

    @property
    def state_file(self) -> Path:
        return self.path / "mesh.json"

    @property
    def key_file(self) -> Path:
        return self.path / "admin.key"

    @property
    def identity_file(self) -> Path:
        return self.path / "identity.keys"

    @property
    def stores_file(self) -> Path:
        return self.path / "stores.json"

    @property
    def version_file(self) -> Path:
        return self.path / "version"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    def prepare(self) -> None:
        """Make the folder, its secrets and sub-folders. Raises Failure when it cannot be used, with code 2 and without
        a change when a newer program made it."""
        if self.path.exists() and not self.path.is_dir():
            raise Failure(f"RAGMESH_HOME: {self.path} is a file; the home must be a folder")
        self.require_known_version()
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            if stat.S_IMODE(self.path.stat().st_mode) & 0o077:
                self._close_to_others()
            for folder in (self.logs, self.path / "blobs", self.path / "models"):
                folder.mkdir(exist_ok=True, mode=0o700)
            if not self.identity_file.exists():
                _write_secret(self.identity_file, f"k1:{_random_key()}")
            if not self.version_file.exists():
                _replace(self.version_file, f"{HOME_VERSION}\n")
        except OSError as error:
            raise Failure(
                f"RAGMESH_HOME: {self.path} cannot be the home: {error.strerror}; choose a folder that you may write to"
            ) from error

    def version(self) -> int:
        """What made the home. Raises Failure when its file `version` holds no number."""
        try:
            text = self.version_file.read_text(encoding="ascii", errors="replace").strip()
        except OSError:
            return 1
        if not (text.isascii() and text.isdecimal()):
            raise Failure(f"{self.version_file} holds no version; restore the home from a backup", 2)
        return int(text)

    def require_known_version(self) -> None:
        """Raises Failure with code 2 when a newer program made the home."""
        version = self.version()
        if version > HOME_VERSION:
            raise Failure(
                f"the home {self.path} has version {version}, made by a newer ragmesh; this one knows version "
                f"{HOME_VERSION}: run the newer program or restore a backup",
                2,
            )

    def _close_to_others(self) -> None:
        """Make the folder 0700, but not one that holds something else, such as a user's whole home."""
        if not self.identity_file.exists() and any(self.path.iterdir()):
            raise Failure(f"RAGMESH_HOME: {self.path} holds files that are not ragmesh's; choose an empty folder")
        self.path.chmod(0o700)

    def write_admin_key(self, key: str) -> None:
        """Keep the first key, readable by its owner only."""
        _write_secret(self.key_file, key)

    def admin_key(self) -> str:
        """The home's first key. Raises Failure when it cannot be read."""
        try:
            return self.key_file.read_text().strip()
        except OSError as error:
            raise Failure(
                f"no key: {self.key_file} cannot be read ({error.strerror}); give one with RAGMESH_KEY"
            ) from error

    def state(self) -> dict[str, Any] | None:
        """What the running mesh wrote of itself; None when none was started here."""
        try:
            value = json.loads(self.state_file.read_text())
        except (OSError, ValueError):
            return None
        return value if isinstance(value, dict) else None

    def write_state(self, state: Mapping[str, Any]) -> None:
        _replace(self.state_file, json.dumps(state, indent=1))

    def stores(self) -> dict[str, str] | None:
        """The variables of the stores elsewhere that its mesh was last run with; None when that is not known: none was
        run here, or by a release that did not write it. Raises Failure when the file is damaged."""
        try:
            value = json.loads(self.stores_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise Failure(f"{self.stores_file} cannot be read; the next `ragmesh up` writes it again") from error
        return {str(name): str(place) for name, place in value.items()} if isinstance(value, dict) else None

    def write_stores(self, places: Mapping[str, str]) -> None:
        _replace(self.stores_file, json.dumps(places, indent=1))

    def running(self) -> dict[str, Any] | None:
        """The state of the mesh whose supervisor is alive; None when there is none."""
        state = self.state()
        if state is None:
            return None
        try:
            process = psutil.Process(state["pid"])
            same = abs(process.create_time() - state["started"]) < 1.0  # pids are used again
            alive = process.status() != psutil.STATUS_ZOMBIE  # ended, and nobody has reaped it
        except (psutil.Error, KeyError, TypeError, ValueError):
            return None
        return state if same and alive else None

    def running_still(self) -> dict[str, Any] | None:
        """As `running`, but not for a supervisor that is about to be gone: one that was killed takes a moment."""
        state = self.running()
        for _ in range(10):
            if state is None:
                break
            time.sleep(0.1)
            state = self.running()
        return state


class HomeLock:
    """An exclusive lock on the home. Children inherit the descriptor, so the home stays locked until the last of them
    is gone: two Milvus servers on one file would spoil it."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self.descriptor = -1

    def acquire(self, say: Callable[[str], None]) -> None:
        """Take the lock. Raises Failure when another mesh has it; waits for a dead one's children to go."""
        try:
            self.descriptor = os.open(self._home.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Failure(f"RAGMESH_HOME: {self._home.lock_file} cannot be opened: {error.strerror}") from error
        started = time.monotonic()
        said = False
        while True:
            try:
                fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                state = self._home.running_still()
                waited = time.monotonic() - started
                if state is not None or waited > LOCK_WAIT_SECONDS:
                    raise self._refusal(state) from None
                if not said and waited > LOCK_NOTE_SECONDS:
                    say("waiting for the processes of a mesh that was killed to stop")
                    said = True
                time.sleep(0.1)

    def _refusal(self, state: dict[str, Any] | None) -> Failure:
        who = f" (pid {state['pid']}, {state.get('rest', '')})" if state else ""
        return Failure(
            f"a mesh is already running on {self._home.path}{who}; use it, stop it with `ragmesh down`, "
            "or choose another home with RAGMESH_HOME or --home"
        )


def _random_key() -> str:
    return secrets.token_urlsafe(32)


def _write_secret(path: Path, text: str) -> None:
    _replace(path, text + "\n")


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
