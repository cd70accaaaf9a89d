"""The processes of the mesh that runs: alive, ready, their dependencies, their breakers; and what their logs cry."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from ragmesh_cli.doctor.finding import Finding, Situation, error, ok, warning
from ragmesh_cli.mesh import health

LOG_BYTES = 256 * 1024
"""Of the end of each log."""

LOG_SECONDS = 24 * 3600.0
GONE = ("", psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)


def processes(situation: Situation) -> list[Finding]:
    """Each process."""
    if situation.state is None:
        return [ok("mesh", "not running; `ragmesh up` starts it")]
    entries = list(situation.state["processes"])
    with ThreadPoolExecutor(max_workers=max(1, len(entries))) as pool:
        findings = [finding for found in pool.map(_of_process, entries) for finding in found]
    if not situation.state["ready"]:
        findings.append(warning("mesh", "it is still starting", "wait a moment, and run `ragmesh doctor` again"))
    return findings or [ok("mesh", f"{len(entries)} processes, each ready and with all it depends on")]


def logs(situation: Situation) -> list[Finding]:
    """CRITICAL events of the last day, by name only."""
    findings = []
    for path in sorted(situation.home.logs.glob("*.log")):
        events = _critical(path, time.time() - LOG_SECONDS)
        if events:
            shown = ", ".join(f"{name} ({count})" if count > 1 else name for name, count in events.most_common(3))
            findings.append(
                warning("logs", f"{path.stem} logged critical events within a day: {shown}", f"read {path}")
            )
    return findings or ([ok("logs", "no critical event within a day")] if situation.home.logs.is_dir() else [])


def _of_process(entry: Mapping[str, Any]) -> list[Finding]:
    name, pid, log = str(entry["name"]), int(entry["pid"]), f"its log says why: {entry['log']}"
    status = _status(pid)
    if status in GONE:
        return [error("mesh", f"{name} is down", log)]
    if status == psutil.STATUS_STOPPED:
        return [error("mesh", f"{name} (pid {pid}) is suspended", f"kill -CONT {pid}")]
    findings = []
    if int(entry["restarts"]):
        times = "once" if int(entry["restarts"]) == 1 else f"{entry['restarts']} times"
        findings.append(warning("mesh", f"{name} ended and was restarted {times}", log))
    if not entry["admin"]:
        return findings
    report = health.report(str(entry["admin"]))
    if report is None:
        what = f"{name} (pid {pid}) does not answer on its admin port {entry['admin']}"
        return [*findings, error("mesh", what, log)]
    if not report.get("ready"):
        findings.append(error("mesh", f"{name} is not ready", log))
    for dependency, check in (report.get("checks") or {}).items():
        if check.get("state") not in {"ok", "unknown"}:
            detail = f": {check['detail']}" if check.get("detail") else ""
            what = f"{name} does not reach {dependency}{detail}"
            findings.append(error("mesh", what, f"look at the log of {dependency} first, then {entry['log']}"))
    return findings + _breakers(name, report.get("breakers"))


def _breakers(name: str, breakers: Any) -> list[Finding]:
    """Those that are not closed."""
    return [
        warning(
            "mesh",
            f"{name}: the breaker of {one['dependency']} ({one['endpoint']}) is {one['state']}",
            "it closes by itself once that answers again",
        )
        for one in breakers or ()
        if one["state"] != "closed"
    ]


def _status(pid: int) -> str:
    try:
        return psutil.Process(pid).status() if pid else ""
    except psutil.Error:
        return ""


def _critical(path: Path, since: float) -> Counter[str]:
    """Events by name of the end of a log that is JSON lines; others have none."""
    found: Counter[str] = Counter()
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - LOG_BYTES))
            lines = file.read().splitlines()
    except OSError:
        return found
    for line in lines:
        if b'"critical"' not in line:
            continue
        try:
            event = json.loads(line)
            at = datetime.fromisoformat(event["timestamp"]).replace(tzinfo=UTC).timestamp()
            if event["level"] == "critical" and at >= since:
                found[str(event["event"])] += 1
        except (ValueError, KeyError, TypeError):
            continue
    return found
