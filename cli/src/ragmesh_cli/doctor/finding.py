"""A finding, and what every check is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ragmesh_cli.home import Home


class Level(StrEnum):
    """ERROR: something is wrong now. WARNING: it works, and something is to be looked at."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line. check: what was looked at. what: what is the case. cure: what to do, empty when there is nothing."""

    check: str
    level: Level
    what: str
    cure: str = ""


def ok(check: str, what: str) -> Finding:
    return Finding(check, Level.OK, what)


def warning(check: str, what: str, cure: str) -> Finding:
    return Finding(check, Level.WARNING, what, cure)


def error(check: str, what: str, cure: str) -> Finding:
    return Finding(check, Level.ERROR, what, cure)


@dataclass(frozen=True, slots=True)
class Situation:
    """home: the mesh's, which need not exist. environ: the variables. state: what the mesh that runs in the home wrote
    of itself; None when none runs."""

    home: Home
    environ: Mapping[str, str]
    state: Mapping[str, Any] | None

    def address_of(self, process: str) -> str:
        """Where a process of the running mesh answers; empty when there is none."""
        entries = self.state["processes"] if self.state else ()
        return next((str(entry["address"]) for entry in entries if entry["name"] == process), "")


Check = Callable[[Situation], Sequence[Finding]]
