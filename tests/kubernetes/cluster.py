"""The cluster as kubectl and helm show it: those on PATH, and the cluster that KUBECONFIG names."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
CHART = REPOSITORY / "charts/ragmesh"
IMAGES = ("ragmesh-gateway", "ragmesh-retriever", "ragmesh-generator", "ragmesh-ingestor", "ragmesh")
TEST_IMAGES = ("ragmesh-test-redis", "ragmesh-test-milvus", "ragmesh-test-neo4j", "ragmesh-test-load")
STORES_LABEL = "ragmesh-test=stores"


class Refused(AssertionError):
    """A command that did not succeed, with what it said."""


def missing() -> str:
    """Why no cluster can be tested; empty when one can."""
    for program in ("kubectl", "helm"):
        if shutil.which(program) is None:
            return f"{program} is not on PATH"
    if not os.environ.get("KUBECONFIG") and not (Path.home() / ".kube/config").exists():
        return "KUBECONFIG is not set: which cluster?"
    try:
        kubectl("version", "--request-timeout=5s", timeout_seconds=15)
    except (Refused, subprocess.TimeoutExpired) as error:
        return f"the cluster that KUBECONFIG names does not answer: {error}"
    if not (CHART / "Chart.yaml").exists():
        return f"there is no chart in {CHART}"
    return ""


def tag() -> str:
    """Of the images: RAGMESH_TEST_IMAGES_TAG, or the version of the command line."""
    version: str = tomllib.loads((REPOSITORY / "cli/pyproject.toml").read_text())["project"]["version"]
    return os.environ.get("RAGMESH_TEST_IMAGES_TAG") or version


def load_images() -> None:
    """Bring the images to the nodes by RAGMESH_TEST_CLUSTER_LOAD; without it, nodes have them or can fetch them."""
    if command := os.environ.get("RAGMESH_TEST_CLUSTER_LOAD"):
        names = [f"{name}:{tag()}" for name in (*IMAGES, *TEST_IMAGES)]
        subprocess.run([*shlex.split(command), *names], check=True)


def run(*command: str, stdin: str | None = None, timeout_seconds: float = 120.0) -> str:
    """Its output. Raises Refused with what it said."""
    done = subprocess.run(
        command, input=stdin, capture_output=True, text=True, timeout=timeout_seconds, check=False, cwd=REPOSITORY
    )
    if done.returncode != 0:
        raise Refused(f"{' '.join(command[:6])}: {(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout


def kubectl(*arguments: str, stdin: str | None = None, timeout_seconds: float = 120.0) -> str:
    return run("kubectl", *arguments, stdin=stdin, timeout_seconds=timeout_seconds)


def helm(*arguments: str, timeout_seconds: float = 600.0) -> str:
    return run("helm", *arguments, timeout_seconds=timeout_seconds)


def get(*arguments: str) -> dict[str, Any]:
    """One object, or a list of them in `items`."""
    found: dict[str, Any] = json.loads(kubectl("get", *arguments, "-o", "json"))
    return found


def apply(namespace: str, *objects: dict[str, Any] | str) -> None:
    """Objects, or whole documents of YAML."""
    for each in objects:
        text = each if isinstance(each, str) else json.dumps(each)
        kubectl("apply", "-n", namespace, "-f", "-", stdin=text)


def make_namespace(name: str) -> None:
    """With Pod Security `restricted` enforced: what does not keep to it is not admitted."""
    labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}
    apply(name, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})


def remove_namespace(name: str) -> None:
    kubectl("delete", "namespace", name, "--ignore-not-found", "--timeout=120s", timeout_seconds=150)


def secret(namespace: str, name: str, **values: str) -> None:
    """Make it, or change it to this."""
    data = {key.replace("_", "-"): value for key, value in values.items()}
    secret_of(namespace, name, data)


def secret_of(namespace: str, name: str, data: dict[str, str]) -> None:
    metadata = {"name": name, "namespace": namespace}
    apply(namespace, {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data})


def pods(namespace: str, selector: str) -> list[dict[str, Any]]:
    """Those that are not on their way out."""
    items = get("pods", "-n", namespace, "-l", selector)["items"]
    return [pod for pod in items if "deletionTimestamp" not in pod["metadata"]]


def ready(pod: dict[str, Any]) -> bool:
    conditions = pod.get("status", {}).get("conditions", ())
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def restarts(pod: dict[str, Any]) -> int:
    return sum(int(status["restartCount"]) for status in pod.get("status", {}).get("containerStatuses", ()))


def wait_for(what: str, condition: Callable[[], bool], seconds: float, every: float = 0.5) -> float:
    """Seconds that it took until it held; AssertionError when it did not. Each look may cost a kubectl."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > seconds:
            raise AssertionError(f"{what}: not within {seconds:g} s")
        time.sleep(every)
    return time.monotonic() - began


def place_stores() -> str:
    """Mark the node for the stores, the load and whatever must stay: one with the cluster's DNS. Returns the name of
    another node, which may be drained; empty when there is no other."""
    nodes = [node["metadata"]["name"] for node in get("nodes")["items"]]
    dns = {pod["spec"].get("nodeName") for pod in pods("kube-system", "k8s-app=kube-dns")}
    marked = [node["metadata"]["name"] for node in get("nodes", "-l", STORES_LABEL)["items"]]
    home = next((n for n in marked), next((n for n in nodes if n in dns), nodes[0]))
    if not marked:
        kubectl("label", "node", home, STORES_LABEL)
    return next((n for n in nodes if n != home and n not in dns), "")
