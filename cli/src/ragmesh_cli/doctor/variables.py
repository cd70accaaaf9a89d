"""The RAGMESH_* variables of the environment: unknown ones, which have no effect, and malformed ones. Values of secrets
are never shown."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from ragmesh_cli.doctor.finding import Finding, Situation, error, ok
from ragmesh_cli.reference import SERVICES
from ragmesh_servicekit.settings import SettingsError, load, variables

PREFIX = "RAGMESH_"
OWN = frozenset({"RAGMESH_HOME", "RAGMESH_ADDRESS", "RAGMESH_KEY", "RAGMESH_CA_FILE", "RAGMESH_TRACEBACK"})
"""Those that the command line reads besides the services' (a test compares them with its source)."""

TESTS = "RAGMESH_TEST_"

_LOGIN = re.compile(r"//[^/@\s]*@")
"""User and password of an address; a variable that is no secret should hold none, and may."""

SUPPLIED = {
    "RAGMESH_RECORDS_URL": "sqlite:/records.db",
    "RAGMESH_BLOBS_URL": "file:/blobs",
    "RAGMESH_STATE_URL": "unix:///state.sock",
    "RAGMESH_CACHE_URL": "unix:///cache.sock",
    "RAGMESH_VECTORS_URL": "unix:/vectors.sock",
    "RAGMESH_MODELS_DIR": "/models",
    "RAGMESH_IDENTITY_KEYS": f"any:{'A' * 43}",
}
"""In the place of what `ragmesh up` supplies; the settings of every service can be read with nothing else."""


def settings(situation: Situation) -> list[Finding]:
    """Every variable that is set is one that something reads, and can be read."""
    classes = _classes()
    given = {name for name in situation.environ if name.startswith(PREFIX) and not name.startswith(TESTS)}
    readable = known()
    findings = [_unknown(name, readable) for name in sorted(given - readable)]
    findings += [
        error("settings", _LOGIN.sub("//…@", problem), "mend or unset it; docs/settings.md lists all")
        for problem in _malformed(classes, situation.environ)
    ]
    if findings:
        return findings
    if not given:
        return [ok("settings", "no RAGMESH_* variable is set: everything has its default")]
    return [
        ok("settings", f"{len(given)} RAGMESH_* variable{'' if len(given) == 1 else 's'} set, known and well-formed")
    ]


def known() -> frozenset[str]:
    """Every variable that something reads."""
    found = [variable for cls in _classes() for variable, _ in variables(cls)]
    files = {f"{variable.name}_FILE" for variable in found if variable.secret}
    return OWN | files | {variable.name for variable in found}


def _classes() -> list[type[Any]]:
    return [getattr(import_module(f"ragmesh_{name}.settings"), cls) for name, cls in SERVICES.items()]


def _unknown(name: str, readable: frozenset[str]) -> Finding:
    words = {other.removeprefix(PREFIX) for other in readable}  # what all begin with makes nothing alike
    near = difflib.get_close_matches(name.removeprefix(PREFIX), words, n=1, cutoff=0.75)
    cure = f"is it {PREFIX}{near[0]}?" if near else "unset it; docs/settings.md lists all"
    return error("settings", f"{name} is set, and nothing reads it", cure)


def _malformed(classes: list[type[Any]], environ: Mapping[str, str]) -> list[str]:
    """The problems of all services. Required variables that are missing are none: `ragmesh up` supplies them."""
    problems: dict[str, None] = {}
    for cls in classes:
        given = {name for name, value in environ.items() if value}
        supplied = {k: v for k, v in SUPPLIED.items() if k not in given and f"{k}_FILE" not in given}
        try:
            load(cls, {**environ, **supplied})
        except SettingsError as failure:
            problems.update(dict.fromkeys(failure.problems))
    return list(problems)
