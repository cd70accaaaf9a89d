"""`ragmesh doctor`: what is wrong, and what to do."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

import click
from rich.text import Text

from ragmesh_cli.commands.shared import home_of, home_option, json_option
from ragmesh_cli.doctor.examination import examine
from ragmesh_cli.doctor.finding import Finding, Level, Situation
from ragmesh_cli.terminal import console, print_json, say

MARKS = {Level.OK: ("ok", "green"), Level.WARNING: ("warn", "yellow"), Level.ERROR: ("WRONG", "bold red")}


@click.command(short_help="Say what is wrong, and what to do.")
@home_option
@json_option
def doctor(home: Path | None, as_json: bool) -> None:
    """Look at everything that a mesh needs, whether one runs or not, and change nothing.

    \b
    settings   RAGMESH_* variables that nothing reads or that are malformed
    machine    Python, redis-server, Milvus, disk, open files, clock, ports
    home       who may read it, its version, its lock, what a killed mesh left
    stores     model files, schema versions, the index of every collection,
               servers that the environment names
    mesh       each process and what it depends on, REST and gRPC with the
               key, jobs, critical events in the logs

    One line for each finding: `ok`, `warn` (it works; look at it) or `WRONG`, with what to do. Takes less than 10 s.
    Exits 0 when nothing is wrong, else 1."""
    place = home_of(home)
    situation = Situation(place, dict(os.environ), place.running())
    findings = examine(situation)
    wrong = sum(finding.level is Level.ERROR for finding in findings)
    warnings = sum(finding.level is Level.WARNING for finding in findings)
    if as_json:
        shown = [{**asdict(finding), "level": finding.level.value} for finding in findings]
        print_json({"well": not wrong, "errors": wrong, "warnings": warnings, "findings": shown})
    else:
        for finding in findings:
            console.print(_line(finding))
        say("")
        say(_summary(wrong, warnings))
    if wrong:
        raise SystemExit(1)


def _line(finding: Finding) -> Text:
    mark, style = MARKS[finding.level]
    line = Text().append(f"{mark:<6}", style=style)
    line.append(f"{finding.check:<10}", style="dim" if finding.level is Level.OK else "bold")
    line.append(finding.what, style="dim" if finding.level is Level.OK else "default")
    if finding.cure:
        line.append(" -> ", style="dim")
        line.append(finding.cure, style="cyan")
    return line


def _summary(wrong: int, warnings: int) -> str:
    warned = f"{warnings} warning{'' if warnings == 1 else 's'}"
    if wrong:
        things = "one thing is" if wrong == 1 else f"{wrong} things are"
        return f"{things} wrong" + (f", {warned}" if warnings else "")
    return f"nothing is wrong, {warned}" if warnings else "all is well"
