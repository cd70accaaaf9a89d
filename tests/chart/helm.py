"""Renders the chart with the helm on PATH (or HELM). What was rendered once is remembered for the test run."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

from chart.objects import Release, parse

REPOSITORY = Path(__file__).parents[2]
CHART = REPOSITORY / "charts/ragmesh"
CI_VALUES = sorted(path.name.removesuffix("-values.yaml") for path in (CHART / "ci").glob("*-values.yaml"))
RELEASE, NAMESPACE = "ragmesh", "ragmesh"


class RenderFailed(Exception):
    """Helm refused; the text is what it said."""


def program(name: str) -> str | None:
    """Its path: the variable of its name in capitals, else what is on PATH; None when it is not there."""
    return shutil.which(os.environ.get(name.upper().replace("-", "_")) or name)


def helm(*arguments: str, stdin: str | None = None) -> str:
    executable = program("helm")
    assert executable, "helm is not on PATH"
    done = subprocess.run(
        [executable, *arguments], input=stdin, capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode != 0:
        raise RenderFailed((done.stderr + done.stdout).strip())
    return done.stdout


def values_of(name: str) -> Path:
    return CHART / f"ci/{name}-values.yaml"


@functools.cache
def manifests(name: str, *sets: str, extra: str = "", arguments: tuple[str, ...] = (), release: str = RELEASE) -> str:
    """What `helm template` writes for a ci values file, `--set` texts and more values as YAML."""
    command = ["template", release, str(CHART), "--namespace", NAMESPACE, "--values", str(values_of(name))]
    if extra:
        command += ["--values", "-"]
    for one in sets:
        command += ["--set", one]
    return helm(*command, *arguments, stdin=extra or None)


def render(name: str, *sets: str, values: dict[str, Any] | None = None, arguments: tuple[str, ...] = ()) -> Release:
    """The same as objects, freshly parsed: a test may change them."""
    return parse(manifests(name, *sets, extra=yaml.safe_dump(values) if values else "", arguments=arguments))


@functools.cache
def shared(name: str) -> Release:
    """The objects of a ci values file, parsed once: not to be changed."""
    return parse(manifests(name))


def refusal(name: str, *sets: str, values: dict[str, Any] | None = None, release: str = RELEASE) -> str:
    """Why helm refuses these values. Raises AssertionError when it does not."""
    try:
        manifests(name, *sets, extra=yaml.safe_dump(values) if values else "", release=release)
    except RenderFailed as error:
        return str(error)
    raise AssertionError(f"helm renders {name} with {sets or values}")
