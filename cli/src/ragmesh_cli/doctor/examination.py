"""Runs every check at the same time and waits for none longer than the whole may take."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence

from ragmesh_cli.doctor import (
    certificates,
    home_folder,
    machine,
    network,
    processes,
    public_api,
    queue,
    stores,
    variables,
)
from ragmesh_cli.doctor.finding import Check, Finding, Situation, error

WHOLE_SECONDS = 9.5

CHECKS: dict[str, Check] = {
    "python": machine.python,
    "settings": variables.settings,
    "home": home_folder.home,
    "lock": home_folder.lock,
    "disk": machine.disk,
    "files": machine.files,
    "clock": machine.clock,
    "redis": machine.redis,
    "milvus": machine.milvus,
    "ports": network.ports,
    "servers": network.elsewhere,
    "tls": certificates.certificates,
    "stores": stores.stores,
    "mesh": processes.processes,
    "rest": public_api.rest,
    "grpc": public_api.grpc,
    "queue": queue.queue,
    "logs": processes.logs,
}
"""In the order in which they are shown."""


def examine(
    situation: Situation, checks: Mapping[str, Check] = CHECKS, whole_seconds: float = WHOLE_SECONDS
) -> list[Finding]:
    """The findings of all checks, in their order. One that fails or does not end in time is a finding itself."""
    found: dict[str, Sequence[Finding]] = {}

    def run(name: str, check: Check) -> None:
        try:
            found[name] = check(situation)
        except Exception as failure:
            what = f"this check failed: {type(failure).__name__}: {failure}"
            found[name] = [error(name, what, "please report it as a fault of ragmesh")]

    # Daemons: one that hangs must not keep the command from ending.
    threads = {name: threading.Thread(target=run, args=(name, check), daemon=True) for name, check in checks.items()}
    ends_at = time.monotonic() + whole_seconds
    for thread in threads.values():
        thread.start()
    for thread in threads.values():
        thread.join(max(0.0, ends_at - time.monotonic()))
    late = f"not known after {whole_seconds:g} s"
    return [
        finding
        for name in checks
        for finding in found.get(name, [error(name, late, "look at the load of the machine, and run it again")])
    ]
