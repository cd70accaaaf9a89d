"""The cases without load: what is looked at, in the order in which they run. The first of them installs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from kubernetes import backups, bad_input, cluster, embedded, policies
from kubernetes.cluster import helm, kubectl
from kubernetes.house import RELEASE, House
from reliability.judge import Gate


@dataclass(frozen=True, slots=True)
class Check:
    """short_seconds and full_seconds: about how long it takes; 0 leaves it out of that set. needs_release: whether the
    release must be there before."""

    name: str
    title: str
    look: Callable[[House], list[Gate]]
    short_seconds: float = 0.0
    full_seconds: float = 60.0
    needs_release: bool = True


def installed(house: House) -> list[Gate]:
    """From nothing to ready, the hook with it, and a real question through the Service."""
    if house.installed():
        helm("uninstall", RELEASE, "-n", RELEASE, "--wait")
    seconds = house.upgrade()
    house.current = True
    pods = house.pods()
    began = time.monotonic()
    said = helm("test", RELEASE, "-n", RELEASE, "--logs")
    asked = time.monotonic() - began
    level = cluster.get("namespace", RELEASE)["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
    nodes = {pod["spec"]["nodeName"] for pod in pods}
    answer = next((line for line in said.splitlines() if line.startswith("answered:")), said[-300:])
    return [
        Gate("from `helm install` to ready within 5 min", seconds <= 300, f"{seconds:.0f} s"),
        Gate("two pods of each, all ready", len(pods) == 8 and all(map(cluster.ready, pods)), f"{len(pods)} pods"),
        Gate("on more than one node", len(nodes) > 1 or not house.spare_node, f"{len(nodes)} nodes"),
        Gate("`helm test` asks a real question through the Service", answer.startswith("answered:"), f"{asked:.0f} s"),
        Gate("admitted under Pod Security `restricted`", level == "restricted", f"enforce={level}"),
    ]


def removed(house: House) -> list[Gate]:
    """Nothing of the release is left but what is meant to stay."""
    helm("uninstall", RELEASE, "-n", RELEASE, "--wait", "--timeout=180s")
    house.current = False
    kinds = "deployments,services,configmaps,networkpolicies,poddisruptionbudgets,horizontalpodautoscalers,jobs"
    left = kubectl("get", kinds, "-n", RELEASE, "-l", f"app.kubernetes.io/instance={RELEASE}", "-o", "name").split()
    claims = kubectl("get", "persistentvolumeclaims", "-n", RELEASE, "-o", "name").split()
    return [
        Gate("`helm uninstall` leaves no object", not left, ", ".join(left) or "none"),
        Gate("and keeps the volume of originals", bool(claims), ", ".join(claims)),
    ]


CHECKS: tuple[Check, ...] = (
    Check("install", "install to ready, `helm test`", installed, 60.0, 60.0, needs_release=False),
    Check("network-policy", "NetworkPolicies in both directions", policies.held, 30.0, 30.0),
    Check("missing-secret", "a Secret that is not there", bad_input.missing_secret),
    Check("wrong-store", "a store's address that is wrong", bad_input.wrong_store, 60.0, 60.0),
    Check("absent-image", "an image that nobody has", bad_input.absent_image),
    Check("wrong-setting", "a container that does not start", bad_input.wrong_setting),
    Check("full-volume", "a volume without room", bad_input.full_volume),
    Check("backup", "`ragmesh backup`, every store wiped, `ragmesh restore`", backups.restored),
    Check("uninstall", "`helm uninstall`", removed),
    Check("embedded", "the embedded values keep their data over a restart", embedded.kept, needs_release=False),
)
