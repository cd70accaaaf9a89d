"""Ports that a start would need, and servers elsewhere that the environment names."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

from ragmesh_cli.doctor.finding import Finding, Situation, error, ok, warning
from ragmesh_cli.mesh.plan import ADMIN_BASE_PORT, BASE_PORTS, LOOPBACK
from ragmesh_cli.mesh.ports import is_free
from ragmesh_servicekit.ports import holder_of

CONNECT_SECONDS = 3.0
PUBLIC = (("--rest-port", "RAGMESH_REST_PORT", "8080"), ("--grpc-port", "RAGMESH_GRPC_PORT", "9090"))
DEFAULT_PORTS = {
    "redis": 6379, "rediss": 6379, "bolt": 7687, "neo4j": 7687, "http": 80, "https": 443, "": 19530,
}  # fmt: skip


def ports(situation: Situation) -> list[Finding]:
    """The ports of REST and gRPC are free, or the mesh's own. The inner ones move by themselves."""
    if situation.state is not None:
        return [ok("ports", f"REST {situation.state['rest']}, gRPC {situation.state['grpc']}")]
    host = situation.environ.get("RAGMESH_HOST") or LOOPBACK
    findings = []
    for option, variable, default in PUBLIC:
        text = situation.environ.get(variable) or default
        if text.isdecimal() and 0 < int(text) < 65536 and not is_free(host, int(text)):
            what = f"port {text} on {host} is taken{holder_of(int(text))}"
            cure = f"stop that process, or choose another with {option} or {variable}"
            findings.append(error("ports", what, cure))
    moved = [port for port in (*BASE_PORTS.values(), ADMIN_BASE_PORT) if not is_free(LOOPBACK, port)]
    if findings:
        return findings
    note = f"; inner ports that are taken move: {', '.join(map(str, moved))}" if moved else ""
    return [ok("ports", f"those of REST and gRPC are free{note}")]


def elsewhere(situation: Situation) -> list[Finding]:
    """Every server that a variable names accepts a TCP connection."""
    values = {
        name.removesuffix("_FILE"): _content(value) if name.endswith("_FILE") else value
        for name, value in sorted(situation.environ.items())
        if name.startswith("RAGMESH_") and name.removesuffix("_FILE").endswith(("_URL", "_ENDPOINT"))
    }
    named = [(name, server) for name, value in values.items() if (server := _server(value))]
    with ThreadPoolExecutor(max_workers=max(1, len(named))) as pool:
        reasons = list(pool.map(lambda each: _refusal(*each[1]), named))
    findings = []
    for (name, (host, port)), reason in zip(named, reasons, strict=True):
        if reason:
            cure = "start it, or mend the variable"
            level = warning if name == "RAGMESH_OTLP_ENDPOINT" else error  # traces are never missed by a request
            findings.append(level("servers", f"{name}: {host}:{port} cannot be reached: {reason}", cure))
        else:
            findings.append(ok("servers", f"{name}: {host}:{port} answers"))
    return findings


def _content(path: str) -> str:
    """Empty for a file that cannot be read, of which the settings check tells."""
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""


def _server(value: str) -> tuple[str, int] | None:
    """Host and port of an address; None for a file, a socket, a bucket, or what the settings check refuses."""
    try:
        parts = urlsplit(value if "://" in value else f"//{value}")
        if parts.scheme.partition("+")[0] not in DEFAULT_PORTS or not parts.hostname:
            return None
        if not parts.scheme and parts.port is None:
            return None
        return parts.hostname, parts.port or DEFAULT_PORTS[parts.scheme.partition("+")[0]]
    except ValueError:
        return None


def _refusal(host: str, port: int) -> str:
    """Why no connection can be made; empty when one can."""
    try:
        with socket.create_connection((host, port), CONNECT_SECONDS):
            return ""
    except TimeoutError:
        return f"no answer within {CONNECT_SECONDS:g} s"
    except OSError as failure:
        return failure.strerror or type(failure).__name__
