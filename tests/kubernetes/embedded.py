"""The embedded values: one pod with a volume. Its data over a restart."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kubernetes import cluster
from kubernetes.cluster import helm, kubectl
from kubernetes.house import House, job_pod, key_env, load_orders, load_pod, run_pod
from ragmesh_servicekit.api_key import new_key
from reliability.judge import Gate

NAMESPACE = "ragmesh-test-embedded"
DEPLOYMENT = "deployment/ragmesh-embedded"
SERVICE = f"ragmesh-embedded.{NAMESPACE}.svc.cluster.local"
READY_SECONDS = 240


@contextmanager
def release(house: House) -> Iterator[None]:
    """A namespace with the embedded release in it; both are gone afterwards."""
    cluster.make_namespace(NAMESPACE)
    key = new_key()
    cluster.secret(NAMESPACE, "ragmesh", bootstrap_key=key)
    cluster.secret(NAMESPACE, "key", key=key)
    try:
        install(house)
        yield
    finally:
        cluster.remove_namespace(NAMESPACE)


def install(house: House) -> None:
    changes = {
        "fullnameOverride": "ragmesh",
        "default.image.tag": cluster.tag(),
        "default.image.pullPolicy": "IfNotPresent",
        "secrets.name": "ragmesh",
        "embedded.volume.size": "1Gi",
        "embedded.resources.requests.cpu": "200m",
        "embedded.resources.requests.memory": "512Mi",
    }
    options = [part for name, value in changes.items() for part in ("--set", f"{name}={value}")]
    helm(
        "upgrade", "--install", "ragmesh", str(cluster.CHART), "-n", NAMESPACE,
        "-f", str(cluster.CHART / "values-embedded.yaml"), *options, "--wait", f"--timeout={READY_SECONDS}s",
    )  # fmt: skip


def fill() -> None:
    run_pod(NAMESPACE, load_pod("fill", load_orders(SERVICE, SERVICE)))


def answers(service: str = SERVICE, namespace: str = NAMESPACE) -> dict[str, Any]:
    """What the questions find and say."""
    said = run_pod(namespace, job_pod("answers", ["-m", "kubernetes.answers", service], key_env()))
    found: dict[str, Any] = json.loads(said.splitlines()[-1])
    return found


def kept(house: House) -> list[Gate]:
    """The pod is deleted, then killed: the next one answers the same."""
    with release(house):
        said = helm("test", "ragmesh", "-n", NAMESPACE, "--logs")
        fill()
        before = answers()
        gates = [Gate("`helm test` asks a real question", "answered:" in said, "asked")]
        for how, options in (("deleted", ()), ("deleted by force", ("--grace-period=0", "--force"))):
            began = time.monotonic()
            kubectl(
                "delete", "pod", "-n", NAMESPACE, "-l", "app.kubernetes.io/component=embedded", *options,
                timeout_seconds=180,
            )  # fmt: skip
            ready()
            seconds = time.monotonic() - began
            after = answers()
            same = sum(before[question] == after.get(question) for question in before)
            promise = f"the pod is {how}: the same answers and documents"
            gates.append(Gate(promise, same == len(before), f"{same} of {len(before)}, back after {seconds:.0f} s"))
        return gates


def ready() -> None:
    kubectl(
        "rollout", "status", "-n", NAMESPACE, DEPLOYMENT, f"--timeout={READY_SECONDS}s",
        timeout_seconds=READY_SECONDS + 10,
    )  # fmt: skip
