"""Ports of the mesh: the public ones as asked for, the inner ones wherever there is room."""

from __future__ import annotations

import errno
import random
import socket

import psutil

from ragmesh_cli.failure import Failure

FREE_RANGE = range(20000, 32000)
"""Below the ports that Linux gives to outgoing connections (32768 and up), which come and go between the moment a port
is found free and the moment its service binds it."""


class Ports:
    """Hands out each port once."""

    def __init__(self, host: str, free_ports: bool) -> None:
        """host: where the public ports listen. free_ports: take any free port instead of the named ones."""
        self._host, self._free_ports = host, free_ports
        self._taken: set[int] = set()

    def public(self, port: int, option: str) -> int:
        """The port that the user named, or chose by leaving it as it is. Raises Failure that names the option and,
        where the system tells, the process that holds the port."""
        if self._free_ports:
            return self._any(self._host)
        if port in self._taken:
            raise Failure(f"{option}: port {port} is given to two things; choose another")
        require_free(self._host, port, option)
        self._taken.add(port)
        return port

    def inner(self, port: int, host: str) -> int:
        """This port when it is free, else any that is: only the mesh itself calls it."""
        if self._free_ports or port in self._taken or not is_free(host, port):
            return self._any(host)
        self._taken.add(port)
        return port

    def _any(self, host: str) -> int:
        chosen = random.Random()  # noqa: S311  # no secret: it spreads meshes that start at the same time
        for _ in range(200):
            port = chosen.choice(FREE_RANGE)
            if port not in self._taken and is_free(host, port):
                self._taken.add(port)
                return port
        raise Failure(f"--free-ports: found no free port on {host} between {FREE_RANGE[0]} and {FREE_RANGE[-1]}")


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    try:
        _bind(host, port)
    except OSError:
        return False
    return True


def require_free(host: str, port: int, option: str) -> None:
    """Raises Failure when no server could listen there, with the cause and the cure."""
    variable = "RAGMESH_" + option.lstrip("-").upper().replace("-", "_")
    try:
        _bind(host, port)
    except OSError as error:
        match error.errno:
            case errno.EADDRNOTAVAIL:
                why = f"--host: {host} is not an address of this machine"
            case errno.EACCES:
                why = f"{option}: port {port} is reserved for the system; choose one from 1024 on"
            case _:
                why = (
                    f"{option}: port {port} on {host} is taken{_holder(port)}; stop that process, choose another port "
                    f"with {option} or {variable}, or let ragmesh pick with --free-ports"
                )
        raise Failure(why) from error


def _bind(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))


def _holder(port: int) -> str:
    try:
        for connection in psutil.net_connections("tcp"):
            local = connection.laddr
            if connection.status == psutil.CONN_LISTEN and local and local.port == port and connection.pid:
                return f" by {psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except psutil.Error:
        return ""
    return ""
