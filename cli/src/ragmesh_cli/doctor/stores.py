"""Model and stores, looked at by a child process: the command line itself knows no store."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping

from ragmesh_cli.doctor.finding import Finding, Level, Situation, error

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
    then the mesh's own before all others."""
    home = situation.home.path
    own = {
        "RAGMESH_RECORDS_URL": f"sqlite:{home / 'records.db'}",
        "RAGMESH_BLOBS_URL": f"file:{home / 'blobs'}",
        "RAGMESH_MODELS_DIR": str(home / "models"),
        "GRPC_VERBOSITY": "NONE",
    }
    run = {
        "RAGMESH_STATE_URL": situation.address_of("redis-state"),
        "RAGMESH_VECTORS_URL": situation.address_of("milvus"),
    }
    return {**own, **situation.environ, **{name: address for name, address in run.items() if address}}
