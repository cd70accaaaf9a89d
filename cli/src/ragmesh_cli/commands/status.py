"""`ragmesh status`: what runs and how it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
import psutil

from ragmesh_cli.commands.shared import home_of, home_option, json_option
from ragmesh_cli.failure import Failure
from ragmesh_cli.mesh import health
from ragmesh_cli.terminal import print_json, say


@dataclass(frozen=True, slots=True)
class BreakerStatus:
    """state: `closed`, `half-open` or `open`."""

    process: str
    dependency: str
    endpoint: str
    state: str


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """state: `ready`, `not ready` or `starting` for a service, `running` for a store, `down` for either.
    dependencies: those of a service that are not well, with their state."""

    name: str
    pid: int
    state: str
    rss_mb: float
    restarts: int = 0
    dependencies: Mapping[str, str] = field(default_factory=dict)
    breakers: Sequence[BreakerStatus] = ()


@click.command(short_help="Show what runs and how it is.")
@home_option
@json_option
def status(home: Path | None, as_json: bool) -> None:
    """Show the mesh that runs in the home. Exits 1 when none runs or it is not ready."""
    place = home_of(home)
    state = place.running() or {"ready": False, "rest": "", "grpc": "", "processes": []}
    with ThreadPoolExecutor(max_workers=16) as pool:
        processes = list(pool.map(_process, state["processes"]))
    ready = bool(state["ready"]) and all(p.state in {"ready", "running"} for p in processes)
    if as_json:
        shown = [{"name": p.name, "pid": p.pid, "state": p.state, "rss_mb": p.rss_mb} for p in processes]
        print_json(
            {
                "ready": ready,
                "rest": state["rest"],
                "grpc": state["grpc"],
                "key_file": str(place.key_file),
                "processes": shown,
                "breakers": [asdict(breaker) for process in processes for breaker in process.breakers],
            }
        )
    elif not processes:
        raise Failure(f"no mesh is running on {place.path}; start one with `ragmesh up --detach`")
    else:
        say(f"{'ready' if ready else 'not ready'}  REST {state['rest']}  gRPC {state['grpc']}  key {place.key_file}")
        for process in processes:
            _print(process)
    if not ready:
        raise SystemExit(1)


def _print(process: ProcessStatus) -> None:
    times = f"  restarted {process.restarts} time{'s' if process.restarts > 1 else ''}" if process.restarts else ""
    say(f"  {process.name:<14} {process.state:<10} pid {process.pid:<8} {process.rss_mb:>6.0f} MB{times}")
    for dependency, state in process.dependencies.items():
        say(f"      {dependency}: {state}")
    for breaker in process.breakers:
        if breaker.state != "closed":
            say(f"      {breaker.dependency}: breaker {breaker.state} ({breaker.endpoint})")


def _process(entry: dict[str, Any]) -> ProcessStatus:
    name, pid, restarts = str(entry["name"]), int(entry["pid"]), int(entry["restarts"])
    try:
        process = psutil.Process(pid) if pid else None
        alive = process is not None and process.status() != psutil.STATUS_ZOMBIE
        rss_mb = round(process.memory_info().rss / 1e6, 1) if process is not None and alive else 0.0
    except psutil.Error:
        alive, rss_mb = False, 0.0
    if not alive:
        return ProcessStatus(name, pid, "down" if pid else "starting", 0.0, restarts)
    if not entry["admin"]:
        return ProcessStatus(name, pid, "running", rss_mb, restarts)
    report = health.report(str(entry["admin"]))
    if report is None:
        return ProcessStatus(name, pid, "starting", rss_mb, restarts)
    checks = {name: str(check.get("state", "unknown")) for name, check in (report.get("checks") or {}).items()}
    unwell = {name: state for name, state in checks.items() if state != "ok"}
    breakers = [
        BreakerStatus(name, str(one.get("dependency")), str(one.get("endpoint")), str(one.get("state")))
        for one in report.get("breakers") or ()
    ]
    ready = "ready" if report.get("ready") else "not ready"
    return ProcessStatus(name, pid, ready, rss_mb, restarts, unwell, breakers)
