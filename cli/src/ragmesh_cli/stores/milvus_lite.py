"""How the embedded Milvus is run: milvus-lite's own server binary, answering on a Unix socket inside the home.

The package is never imported: its `__init__` needs pkg_resources, which current setuptools no longer has, and its
Python part would start the server as a child of whoever opens the file. Two servers can open one database file and
spoil it, so the caller holds the lock of the home before it starts one.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
from pathlib import Path

import grpc.aio

from ragmesh_cli.stores.command import StoreCommand
from ragmesh_servicekit.errors import FailedPrecondition, InvalidArgument, Unavailable

MAX_SOCKET_PATH_BYTES = 103
"""sun_path holds 108 bytes with its final NUL on Linux and 104 on macOS; the smaller one, so that a home moves."""

MIN_CONNECT_SECONDS = 0.05
"""gRPC waits a second between connection attempts by default, longer than the store takes to start."""


def library_folder() -> Path:
    """The folder of the server binary and the shared libraries that it needs.

    Raises FailedPrecondition when milvus-lite, or a milvus-lite with the binary (2.x), is not installed."""
    spec = importlib.util.find_spec("milvus_lite")
    for package in (spec.submodule_search_locations or ()) if spec else ():
        folder = Path(package) / "lib"
        if (folder / "milvus").is_file():
            return folder
    raise FailedPrecondition(
        "the embedded Milvus is not installed: install milvus-lite 2.5 (`make install`), or name a server"
    )


def socket_path(home: Path) -> Path:
    """Where the store answers. Raises InvalidArgument when the system could not bind a path that long."""
    path = home.absolute() / "milvus" / "milvus.sock"
    if len(os.fsencode(path)) > MAX_SOCKET_PATH_BYTES:
        raise InvalidArgument.field(
            "RAGMESH_HOME",
            f"{path} is {len(os.fsencode(path))} bytes long and a Unix socket's path holds {MAX_SOCKET_PATH_BYTES}; "
            "choose a shorter home",
        )
    return path


def command(home: Path, *, log_level: str = "ERROR") -> StoreCommand:
    """What starts the embedded Milvus of this home. Pure: nothing is made or started here.

    home: the mesh's 0700 folder; the database is `milvus/vectors.db`, glog's files go to `milvus/` too (without a
        folder of its own glog writes to /tmp). log_level: DEBUG, INFO, WARNING or ERROR.
    Raises InvalidArgument for a home whose path is too long, FailedPrecondition when the binary is missing.
    """
    library = library_folder()
    folder = home.absolute() / "milvus"
    address = f"unix:{socket_path(home)}"
    search_path = "DYLD_LIBRARY_PATH" if sys.platform == "darwin" else "LD_LIBRARY_PATH"
    return StoreCommand(
        name="milvus",
        argv=(str(library / "milvus"), str(folder / "vectors.db"), address, log_level),
        env={
            search_path: str(library),
            "GLOG_log_dir": str(folder),
            "GLOG_minloglevel": "1",
            "GLOG_max_log_size": "16",
            "TMPDIR": str(folder),
        },
        log_path=home.absolute() / "logs" / "milvus.log",
        address=address,
        cwd=folder,
    )


async def wait_ready(address: str, timeout_seconds: float) -> None:
    """Return as soon as the store at `address` accepts calls; Unavailable after timeout_seconds."""
    options = [
        ("grpc.initial_reconnect_backoff_ms", int(MIN_CONNECT_SECONDS * 1000)),
        ("grpc.min_reconnect_backoff_ms", int(MIN_CONNECT_SECONDS * 1000)),
        ("grpc.max_reconnect_backoff_ms", int(MIN_CONNECT_SECONDS * 1000)),
    ]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        try:
            async with asyncio.timeout(timeout_seconds):
                await channel.channel_ready()
        except TimeoutError as error:
            raise Unavailable.dependency(
                "vectors", f"the embedded Milvus did not answer within {timeout_seconds:g} s; see its log"
            ) from error
