"""How full the job queue is and how long its oldest job has waited, as any ingestor's metrics say: of all tenants."""

from __future__ import annotations

import math
import re

from ragmesh_cli.doctor.finding import Finding, Situation, ok, warning
from ragmesh_cli.mesh import health

LATE_SECONDS = 300.0
_SAMPLE = re.compile(r"^ragmesh_queue_(waiting_jobs|running_jobs|oldest_waiting_seconds) (\S+)$", re.MULTILINE)


def queue(situation: Situation) -> list[Finding]:
    """Whether jobs wait for long. Nothing is said when no ingestor answers: that is a finding about the process."""
    entries = situation.state["processes"] if situation.state else ()
    for entry in entries:
        text = health.metrics(str(entry["admin"])) if str(entry["name"]).startswith("ingestor") else None
        samples = {name: float(value) for name, value in _SAMPLE.findall(text or "")}
        if len(samples) == 3 and not any(map(math.isnan, samples.values())):
            return [
                _finding(int(samples["waiting_jobs"]), int(samples["running_jobs"]), samples["oldest_waiting_seconds"])
            ]
    return []


def _finding(waiting: int, running: int, oldest_seconds: float) -> Finding:
    shown = f"{waiting} waiting, {running} in work"
    if waiting and oldest_seconds > LATE_SECONDS:
        cure = "see the ingestor's log; more ingestors share the work (`ragmesh up --replicas ingestor=2`)"
        return warning("queue", f"{shown}, the oldest waits for {oldest_seconds / 60:.0f} minutes", cure)
    return ok("queue", shown)
