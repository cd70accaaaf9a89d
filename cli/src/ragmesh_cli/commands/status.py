"""`ragmesh status`: what runs and how it is."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import click
import psutil

from ragmesh_cli.commands.shared import home_of, home_option, json_option
from ragmesh_cli.failure import Failure
from ragmesh_cli.home import Home
from ragmesh_cli.terminal import print_json, say


@click.command()
@home_option
@json_option
def status(home: Path | None, as_json: bool) -> None:
    """Show the mesh that runs in the home. Exits 1 when none runs or it is not ready."""
    place = home_of(home)
    report = status_of(place)
    if as_json:
        print_json(report)
    elif not report["processes"]:
        raise Failure(f"no mesh is running on {place.path}; start one with `ragmesh up --detach`")
    else:
        say(f"{'ready' if report['ready'] else 'not ready'}  REST {report['rest']}  gRPC {report['grpc']}")
        for process in report["processes"]:
            say(f"  {process['name']:<14} {process['state']:<10} pid {process['pid']:<8} {process['rss_mb']:>6.0f} MB")
            for dependency, state in process.get("dependencies", {}).items():
                if state != "ok":
                    say(f"      {dependency}: {state}")
    if not report["ready"]:
        raise SystemExit(1)


def status_of(home: Home) -> dict[str, Any]:
    """The report that `status --json` prints."""
    state = home.running()
    if state is None:
        return {"ready": False, "rest": "", "grpc": "", "key_file": str(home.key_file), "processes": []}
    processes = [_process(entry) for entry in state["processes"]]
    ready = bool(state["ready"]) and all(p["state"] in {"ready", "running"} for p in processes)
    return {
        "ready": ready,
        "rest": state["rest"],
        "grpc": state["grpc"],
        "key_file": state["key_file"],
        "processes": processes,
    }


def _process(entry: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {"name": entry["name"], "pid": entry["pid"], "restarts": entry["restarts"]}
    try:
        process = psutil.Process(entry["pid"])
        result["rss_mb"] = round(process.memory_info().rss / 1e6, 1)
        alive = process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        result["rss_mb"] = 0.0
        alive = False
    if not alive:
        return {**result, "state": "down"}
    if not entry["admin"]:
        return {**result, "state": "running"}
    report = _health(entry["admin"])
    if report is None:
        return {**result, "state": "starting"}
    return {**result, "state": "ready" if report.get("ready") else "not ready", **_dependencies(report)}


def _dependencies(report: dict[str, Any]) -> dict[str, Any]:
    checks = report.get("checks") or {}
    return {"dependencies": {name: check.get("state", "unknown") for name, check in checks.items()}} if checks else {}


def _health(admin: str) -> dict[str, Any] | None:
    try:
        with urllib.request.urlopen(f"http://{admin}/healthz", timeout=2) as reply:  # our own admin port
            report = json.loads(reply.read())
    except urllib.error.HTTPError as error:
        try:
            report = json.loads(error.read())
        except ValueError:
            return None
    except (urllib.error.URLError, OSError, ValueError):
        return None
    return report if isinstance(report, dict) else None
