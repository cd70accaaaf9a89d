"""Ports that are taken: one sentence that names the setting and the holder."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path


class PortTaken(Exception):
    """A port cannot be listened on; the message is for the operator."""


def refuse_taken(variable: str, host: str, port: int) -> None:
    """Raises PortTaken when nothing can listen there now. For gRPC, which says of a port only that it failed."""
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise PortTaken(describe_taken(variable, host, port, error)) from error
    family, kind, protocol, _, address = addresses[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            probe.listen(1)
        except OSError as error:
            raise PortTaken(describe_taken(variable, host, port, error)) from error


def describe_taken(variable: str, host: str, port: int, error: OSError | None = None) -> str:
    """`RAGMESH_GRPC_PORT: port 9090 on 127.0.0.1 is taken by redis-server (pid 7)`."""
    if error is not None and error.errno != errno.EADDRINUSE:
        return f"{variable}: port {port} on {host} cannot be used: {error.strerror}"
    return f"{variable}: port {port} on {host} is taken{holder_of(port)}"


def holder_of(port: int) -> str:
    """` by <name> (pid <n>)`, where /proc tells; otherwise nothing."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rsplit(":", 1)[1], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    for process in Path("/proc").glob("[0-9]*") if inodes else ():
        try:
            if any(str(link.readlink()) in inodes for link in (process / "fd").iterdir()):
                if process.name == str(os.getpid()):
                    return " by this process itself"
                return f" by {(process / 'comm').read_text().strip()} (pid {process.name})"
        except OSError:
            continue
    return ""
