"""The namespaces of a test: the release, its stores, and a place outside from which load comes."""

from __future__ import annotations

import contextlib
import json
import secrets
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kubernetes import cluster
from kubernetes.cluster import apply, helm, kubectl
from ragmesh_servicekit.api_key import new_key
from reliability.house import COLLECTION
from reliability.judge import Documents
from support.openloop_operation import Ask, Operation, Surface

RELEASE, STORES, LOAD = "ragmesh-test", "ragmesh-test-stores", "ragmesh-test-load"
"""Namespaces; the release has the name of its own."""
VALUES = Path(__file__).with_name("values.yaml")
COMPONENTS = ("gateway", "retriever", "generator", "ingestor")
SERVICE = f"ragmesh-gateway.{RELEASE}.svc.cluster.local"
AFTER_LOAD_SECONDS = 150.0
"""The longest deadline of an operation, the inspection of documents, and the start of the pod."""


def random_key() -> str:
    """A signing key as RAGMESH_IDENTITY_KEYS wants it."""
    return f"k1:{secrets.token_urlsafe(32)}"


@dataclass
class Loaded:
    """What the load pod said."""

    begin: float = 0.0
    operations: list[Operation] = field(default_factory=list)
    documents: Documents = field(default_factory=lambda: Documents(0))
    subjects: list[tuple[str, str]] = field(default_factory=list)
    jobs: list[str] = field(default_factory=list)


@dataclass
class House:
    """A release on its stores. spare_node: one that may be drained; empty when the cluster has none. current: whether
    the release is what the chart and values.yaml are now."""

    out: Path
    spare_node: str = ""
    current: bool = False
    subjects: list[tuple[str, str]] = field(default_factory=list)
    jobs: list[str] = field(default_factory=list)

    # -- install -------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Namespaces, Secrets and stores; kept when they are there already."""
        self.spare_node = cluster.place_stores()
        for name in (RELEASE, STORES, LOAD):
            cluster.make_namespace(name)
        if not cluster.get("secrets", "-n", STORES, "--field-selector=metadata.name=neo4j")["items"]:
            key, password = new_key(), secrets.token_urlsafe(16)
            cluster.secret(STORES, "neo4j", password=password)
            cluster.secret(LOAD, "key", key=key)
            cluster.secret(
                RELEASE, "ragmesh", identity_keys=random_key(), bootstrap_key=key, records_password=password,
                model_key="sk-test",
            )  # fmt: skip
        manifest = VALUES.with_name("stores") / "stores.yaml"
        apply(STORES, manifest.read_text().replace("@TAG@", cluster.tag()))
        for name in ("redis-state", "redis-cache", "milvus", "neo4j", "model"):
            kubectl("rollout", "status", "-n", STORES, f"deployment/{name}", "--timeout=180s", timeout_seconds=190)

    def values(self) -> Path:
        self.out.mkdir(parents=True, exist_ok=True)
        path = self.out / "values.yaml"
        path.write_text(VALUES.read_text().replace("@TAG@", cluster.tag()))
        return path

    def upgrade(self, changes: Mapping[str, str] | None = None, *, seconds: float = 300.0, wait: bool = True) -> float:
        """helm upgrade --install with these changes to the values; how long it took. Raises Refused."""
        began = time.monotonic()
        options = [part for name, value in (changes or {}).items() for part in ("--set", f"{name}={value}")]
        helm(
            "upgrade", "--install", RELEASE, str(cluster.CHART), "-n", RELEASE, "-f", str(self.values()),
            *options, *(("--wait", f"--timeout={seconds:.0f}s") if wait else ()), timeout_seconds=seconds + 60,
        )  # fmt: skip
        return time.monotonic() - began

    def undo(self) -> None:
        """Back to the last release that was whole, with nothing of a failed one left."""
        whole = [r["revision"] for r in json.loads(helm("history", RELEASE, "-n", RELEASE, "-o", "json"))
                 if r["status"] in {"deployed", "superseded"}]  # fmt: skip
        helm("rollback", RELEASE, str(whole[-1]), "-n", RELEASE, "--wait", "--timeout=240s")

    def installed(self) -> bool:
        found = json.loads(helm("list", "-n", RELEASE, "-o", "json", "--deployed"))
        return any(release["name"] == RELEASE for release in found)

    def remove(self) -> None:
        for name in (RELEASE, LOAD, STORES):
            cluster.remove_namespace(name)

    # -- pods ----------------------------------------------------------------------------------------

    def pods(self, component: str = "") -> list[dict[str, Any]]:
        """Of one component, or of all; not those of hooks."""
        return cluster.pods(RELEASE, selects((component,) if component else COMPONENTS))

    def all_ready(self, *components: str, seconds: float = 180.0) -> None:
        """Until the rollouts of these, or of all, are over."""
        for component in components or COMPONENTS:
            kubectl(
                "rollout", "status", "-n", RELEASE, f"deployment/ragmesh-{component}", f"--timeout={seconds:.0f}s",
                timeout_seconds=seconds + 10,
            )  # fmt: skip

    def settled(self, *components: str, seconds: float = 180.0) -> None:
        """Until that, and until none of their pods is on its way out."""
        self.all_ready(*components, seconds=seconds)
        selector = selects(components or COMPONENTS)

        def none_ends() -> bool:
            found = cluster.get("pods", "-n", RELEASE, "-l", selector)["items"]
            return not any("deletionTimestamp" in pod["metadata"] for pod in found)

        cluster.wait_for("old pods to end", none_ends, seconds, every=1.0)

    def restarts(self) -> int:
        return sum(cluster.restarts(pod) for pod in self.pods())

    def logs(self, component: str, since_seconds: float) -> dict[str, list[str]]:
        """What each pod of a component logged of late."""
        names = [str(pod["metadata"]["name"]) for pod in self.pods(component)]
        since = f"--since={since_seconds:.0f}s"
        return {name: kubectl("logs", "-n", RELEASE, name, since).splitlines() for name in names}

    # -- load ----------------------------------------------------------------------------------------

    def fill(self) -> None:
        """Make the collection and its subjects, once for all cases."""
        with self.load("fill", 0.0) as loaded:
            pass
        self.subjects, self.jobs = loaded.subjects, loaded.jobs

    @contextlib.contextmanager
    def load(
        self, name: str, seconds: float, questions_per_second: float = 20.0, *, knows_service: bool = False
    ) -> Iterator[Loaded]:
        """Load from inside the cluster for so long. The block does the harm, beginning when the load does; after it the
        load's own end is waited for, and what it said is there."""
        orders = load_orders(f"ragmesh-gateway-pods.{RELEASE}.svc.cluster.local", SERVICE) | {
            "label": f"{name}-{int(time.time())}",
            "subjects": self.subjects,
            "jobs": self.jobs,
            "seconds": seconds,
            "questions_per_second": questions_per_second,
            "knows_service": knows_service,
        }
        pod = f"load-{name}"
        kubectl("delete", "pod", "-n", LOAD, pod, "--ignore-not-found", "--grace-period=1")
        apply(LOAD, load_pod(pod, orders))
        loaded = Loaded()
        try:
            if seconds:
                loaded.begin = begin_of(pod)
            yield loaded
            read(pod, seconds + AFTER_LOAD_SECONDS, loaded, self.out / f"{name}.jsonl")
        finally:
            kubectl("delete", "pod", "-n", LOAD, pod, "--ignore-not-found", "--wait=false", "--grace-period=1")


def selects(components: Sequence[str]) -> str:
    """The label selector of their pods, without those of hooks."""
    return f"app.kubernetes.io/instance={RELEASE},app.kubernetes.io/component in ({','.join(components)})"


def load_orders(pods: str, service: str) -> dict[str, Any]:
    """Orders of kubernetes/load.py that fill the collection and send nothing."""
    return {
        "pods": pods, "service": service, "collection": COLLECTION, "label": "fill", "subjects": [], "jobs": [],
        "seconds": 0.0,
    }  # fmt: skip


def key_env() -> list[dict[str, Any]]:
    """RAGMESH_KEY, of the Secret `key` of the pod's namespace."""
    return [{"name": "RAGMESH_KEY", "valueFrom": {"secretKeyRef": {"name": "key", "key": "key"}}}]


def load_pod(name: str, orders: Mapping[str, Any]) -> dict[str, Any]:
    """The pod of k8s/test-images/load with these orders; it runs once."""
    env = [{"name": "LOAD_ORDERS", "value": json.dumps(orders)}, *key_env()]
    return job_pod(name, ["-m", "kubernetes.load"], env, cpu="500m")  # late clients measure themselves


def run_pod(namespace: str, pod: dict[str, Any], seconds: float = 170.0) -> str:
    """What a pod that runs once said, when it has succeeded; it is gone then."""
    name = str(pod["metadata"]["name"])
    kubectl("delete", "pod", "-n", namespace, name, "--ignore-not-found", "--grace-period=1")
    apply(namespace, pod)
    try:
        return finished(namespace, name, seconds)
    finally:
        kubectl("delete", "pod", "-n", namespace, name, "--ignore-not-found", "--wait=false", "--grace-period=1")


def finished(namespace: str, pod: str, seconds: float) -> str:
    """Wait for the end of the pod's container; what it said. AssertionError with the last of it when there is none, or
    no good one."""
    ended = ".status.containerStatuses[0].state.terminated.exitCode"
    code = ""
    with contextlib.suppress(cluster.Refused, subprocess.TimeoutExpired):
        kubectl(
            "wait", "-n", namespace, f"pod/{pod}", f"--for=jsonpath={{{ended}}}", f"--timeout={seconds:.0f}s",
            timeout_seconds=seconds + 10,
        )  # fmt: skip
        code = kubectl("get", "-n", namespace, f"pod/{pod}", "-o", f"jsonpath={{{ended}}}").strip()
    if code != "0":
        raise AssertionError(f"{pod}: {kubectl('logs', '-n', namespace, pod, '--tail=20')[-2000:]}")
    return kubectl("logs", "-n", namespace, pod)


def job_pod(
    name: str, arguments: list[str], env: list[dict[str, Any]] | None = None, cpu: str = "20m"
) -> dict[str, Any]:
    """A pod that runs Python once, admitted under Pod Security restricted, beside the stores."""
    container = {
        "name": "main",
        "image": f"ragmesh-test-load:{cluster.tag()}",
        "imagePullPolicy": "IfNotPresent",
        "args": arguments,
        "env": env or [],
        "resources": {"requests": {"cpu": cpu, "memory": "64Mi"}, "limits": {"memory": "1Gi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 1,
            "nodeSelector": dict([cluster.STORES_LABEL.split("=")]),
            "dnsConfig": {"options": [{"name": "ndots", "value": "2"}]},
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 10001,
                "runAsGroup": 10001,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
            "volumes": [{"name": "tmp", "emptyDir": {}}],
        },
    }


def begin_of(pod: str) -> float:
    """Waits for the line with the time at which the load begins: CLOCK_MONOTONIC, when pod and test share a machine."""
    found = 0.0

    def said() -> bool:
        nonlocal found
        with contextlib.suppress(cluster.Refused):
            for line in kubectl("logs", "-n", LOAD, pod).splitlines():
                with contextlib.suppress(ValueError):
                    found = float(line)
        if not found and phase(pod) == "Failed":
            raise AssertionError(f"{pod}: {kubectl('logs', '-n', LOAD, pod)[-2000:]}")
        return bool(found)

    cluster.wait_for(f"the load of {pod} to begin", said, 60, every=0.3)
    return found


def run_python(namespace: str, name: str, code: str, *arguments: str) -> str:
    """What a pod of its own prints that runs this code."""
    kubectl("delete", "pod", "-n", namespace, name, "--ignore-not-found", "--grace-period=1")
    # A new pod is open for a second or so, until its policies hold.
    apply(namespace, job_pod(name, ["-c", f"import time; time.sleep(4)\n{code}", *arguments]))
    kubectl(
        "wait", "-n", namespace, f"pod/{name}", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=90s",
        timeout_seconds=100,
    )  # fmt: skip
    said = kubectl("logs", "-n", namespace, name)
    kubectl("delete", "pod", "-n", namespace, name, "--wait=false", "--grace-period=1")
    return said


def phase(pod: str) -> str:
    return str(cluster.get("pod", "-n", LOAD, pod)["status"].get("phase", ""))


def read(pod: str, seconds: float, loaded: Loaded, log: Path) -> None:
    """Wait for the pod's end and take in what it said."""
    text = finished(LOAD, pod, seconds)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(text)
    for line in text.splitlines():
        if not line.startswith("{"):
            continue
        said = json.loads(line)
        match said.pop("kind"):
            case "subjects":
                loaded.subjects = [(name, word) for name, word in said["subjects"]]
                loaded.jobs = said["jobs"]
            case "operation":
                operation = Operation(**said)
                operation.ask, operation.surface = Ask(operation.ask), Surface(operation.surface)
                loaded.operations.append(operation)
            case "documents":
                loaded.documents = Documents(
                    said["acknowledged"], tuple(said["lost"]), tuple(said["doubled"]), said["slowest_seconds"]
                )
