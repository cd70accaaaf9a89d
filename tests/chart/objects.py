"""Kubernetes objects as the checks read them: plain dictionaries, with the few relations that rules ask about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

Object = dict[str, Any]
CONTROLLERS = ("Deployment", "StatefulSet", "Job", "CronJob")
SCALED = ("Deployment", "StatefulSet")


@dataclass(frozen=True, slots=True)
class Workload:
    """Something that runs Pods: the object, the labels of its Pods and their spec."""

    object: Object
    labels: Mapping[str, str]
    spec: Object

    @property
    def name(self) -> str:
        return title(self.object)

    @property
    def kind(self) -> str:
        return str(self.object["kind"])

    @property
    def containers(self) -> list[Object]:
        return [*self.spec.get("initContainers", []), *self.spec.get("containers", [])]

    @property
    def serves(self) -> bool:
        """Whether it runs until it is stopped, and so needs probes and budgets."""
        return self.kind in SCALED

    def container_ports(self) -> dict[str, int]:
        return {port["name"]: port["containerPort"] for one in self.containers for port in one.get("ports", [])}


@dataclass(frozen=True, slots=True)
class Release:
    """All objects of one rendering."""

    objects: list[Object]

    def of(self, *kinds: str) -> list[Object]:
        return [one for one in self.objects if one["kind"] in kinds]

    def named(self, kind: str, name: str) -> Object:
        for one in self.of(kind):
            if one["metadata"]["name"] == name:
                return one
        raise KeyError(f"there is no {kind} {name}")

    def workloads(self, *kinds: str) -> list[Workload]:
        return [workload for one in self.of(*(kinds or ("Pod", *CONTROLLERS))) for workload in runs(one)]

    def containers(self) -> Iterator[tuple[Workload, Object]]:
        for workload in self.workloads():
            for container in workload.containers:
                yield workload, container

    def selected_by(self, selector: Mapping[str, Any] | None) -> list[Workload]:
        """Workloads whose Pods a LabelSelector matches. None matches nothing, {} everything."""
        if selector is None:
            return []
        return [one for one in self.workloads() if matches(selector, one.labels)]

    def scaler_of(self, workload: Workload) -> Object | None:
        """The HorizontalPodAutoscaler or ScaledObject whose target it is."""
        for one in self.of("HorizontalPodAutoscaler", "ScaledObject"):
            target = one["spec"]["scaleTargetRef"]
            if (target.get("kind", "Deployment"), target["name"]) == (
                workload.kind,
                workload.object["metadata"]["name"],
            ):
                return one
        return None


def parse(manifests: str) -> Release:
    return Release([one for one in yaml.load_all(manifests, Loader=LOADER) if one])


LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def title(one: Object) -> str:
    """How findings name an object: Kind/name."""
    return f"{one['kind']}/{one['metadata']['name']}"


def runs(one: Object) -> Iterator[Workload]:
    """The Pods that an object makes; none for those that make none."""
    if one["kind"] == "Pod":
        yield Workload(one, one["metadata"].get("labels", {}), one["spec"])
    elif one["kind"] in CONTROLLERS:
        spec = one["spec"]["jobTemplate"]["spec"] if one["kind"] == "CronJob" else one["spec"]
        yield Workload(one, spec["template"]["metadata"].get("labels", {}), spec["template"]["spec"])


def matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a LabelSelector matches: matchLabels and matchExpressions, all of them."""
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for expression in selector.get("matchExpressions") or []:
        value = labels.get(expression["key"])
        met = {
            "In": value in expression.get("values", []),
            "NotIn": value not in expression.get("values", []),
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }[expression["operator"]]
        if not met:
            return False
    return True


def told(container: Object) -> dict[str, str]:
    """The variables of a container, but for those that the node fills in."""
    return {one["name"]: one["value"] for one in container.get("env", []) if "value" in one}


def effective(workload: Workload, container: Object, field: str) -> Any:
    """A field of the security context: the container's, else its Pod's."""
    own = container.get("securityContext", {})
    return own[field] if field in own else workload.spec.get("securityContext", {}).get(field)
