"""Ports of the mesh: fixed ones, or free ones when asked."""

from __future__ import annotations

import socket

import psutil

from ragmesh_cli.failure import Failure


def free_port(host: str) -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def require_free(host: str, port: int, option: str) -> None:
    """Raises Failure that names the option and, where the system tells, the process that holds the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise Failure(
                f"{option}: port {port} on {host} is taken{_holder(port)}; stop that process, choose another port "
                f"with {option}, or let ragmesh pick with --free-ports"
            ) from error


def _holder(port: int) -> str:
    try:
        for connection in psutil.net_connections("tcp"):
            local = connection.laddr
            if connection.status == psutil.CONN_LISTEN and local and local.port == port and connection.pid:
                return f" by {psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except psutil.Error:
        return ""
    return ""
