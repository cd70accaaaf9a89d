"""Model and stores, looked at by a child process: the command line itself knows no store."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping

from ragmesh_cli.doctor.finding import Finding, Level, Situation, error
from ragmesh_cli.failure import Failure
from ragmesh_cli.mesh.places import of_home

MODULE = "ragmesh_ingestor.check"
CHILD_SECONDS = 8.5


def stores(situation: Situation) -> list[Finding]:
    """What the child found: the model, schema versions, indexes."""
    try:
        done = subprocess.run(  # noqa: S603  # our own module
            [sys.executable, "-m", MODULE],
            env=child_environment(situation),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=CHILD_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return [error("stores", f"looking at them took longer than {CHILD_SECONDS:g} s", "see the logs of the stores")]
    try:
        return [Finding(f["check"], Level(f["level"]), f["what"], f["cure"]) for f in json.loads(done.stdout)]
    except (ValueError, KeyError, TypeError):
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        what = f"looking at them failed: {lines[-1][:200] if lines else f'code {done.returncode}'}"
        return [error("stores", what, "install ragmesh again (`make install`)")]


def child_environment(situation: Situation) -> Mapping[str, str]:
    """The stores of the home, unless the environment names others; those that are servers only while they run, and
    then the mesh's own before all others. Of a mesh that was last run with a store elsewhere the home has none, and
    that one is looked at only where the environment, which has its password, names it."""
    elsewhere = _elsewhere(situation)
    own = {
        **{name: place for name, place in of_home(situation.home).items() if name not in elsewhere},
        "RAGMESH_MODELS_DIR": str(situation.home.path / "models"),
        "GRPC_VERBOSITY": "NONE",
    }
    run = {
        "RAGMESH_STATE_URL": situation.address_of("redis-state"),
        "RAGMESH_VECTORS_URL": situation.address_of("milvus"),
    }
    return {**own, **situation.environ, **{name: address for name, address in run.items() if address}}


def _elsewhere(situation: Situation) -> Mapping[str, str]:
    try:
        return situation.home.stores() or {}
    except Failure:  # `home` tells
        return {}
