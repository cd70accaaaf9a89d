"""What every object must say, and what none may hold: names, labels, versions, secrets, rights."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from chart.objects import Release, title
from chart.rules.registry import Finding, rule

STABLE = {
    "ConfigMap": "v1", "PersistentVolumeClaim": "v1", "Pod": "v1", "Secret": "v1", "Service": "v1",
    "ServiceAccount": "v1", "Deployment": "apps/v1", "StatefulSet": "apps/v1", "Job": "batch/v1",
    "CronJob": "batch/v1", "HorizontalPodAutoscaler": "autoscaling/v2", "Ingress": "networking.k8s.io/v1",
    "NetworkPolicy": "networking.k8s.io/v1", "PodDisruptionBudget": "policy/v1",
    "PriorityClass": "scheduling.k8s.io/v1", "Role": "rbac.authorization.k8s.io/v1",
    "ClusterRole": "rbac.authorization.k8s.io/v1",
}  # fmt: skip
CLUSTER_WIDE = ("PriorityClass", "ClusterRole", "ClusterRoleBinding", "Namespace")
LABEL = re.compile(r"^(([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9])?$")
NAME = re.compile(r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")
SENSITIVE_KEY = re.compile(r"(?i)(password|passwd|secret|token|credential|private.?key|api.?key|_key)$")
# Keys of clouds and of PEM files, and passwords within addresses.
SENSITIVE_TEXT = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY|\b(AKIA|ASIA)[A-Z0-9]{16}\b|://[^/\s:@]+:[^/\s@]+@")


@rule("kube-score:stable-version", "kube-linter:no-extensions-v1beta")
def versions_are_stable(release: Release) -> Iterator[Finding]:
    for one in release.objects:
        if one["kind"] in STABLE and one["apiVersion"] != STABLE[one["kind"]]:
            yield title(one), f"apiVersion is {one['apiVersion']}"


@rule("kube-score:label-values")
def labels_are_valid(release: Release) -> Iterator[Finding]:
    for one in release.objects:
        for key, value in one["metadata"].get("labels", {}).items():
            if not LABEL.match(str(value)):
                yield title(one), f"label {key} is {value}"
        if not NAME.match(one["metadata"]["name"]):
            yield title(one), "is no name that every kind takes"


@rule("ragmesh:one-of-each-name")
def names_are_unique(release: Release) -> Iterator[Finding]:
    counts = Counter((one["apiVersion"], title(one)) for one in release.objects)
    for (_, name), count in counts.items():
        if count > 1:
            yield name, f"is there {count} times"


@rule("kube-linter:use-namespace")
def namespaces_are_named(release: Release) -> Iterator[Finding]:
    for one in release.objects:
        if one["kind"] not in CLUSTER_WIDE and one["metadata"].get("namespace") in (None, "default"):
            yield title(one), "has no namespace"


@rule("polaris:metadataAndInstanceMismatched")
def instances_are_named_alike(release: Release) -> Iterator[Finding]:
    for one in release.objects:
        instance = one["metadata"].get("labels", {}).get("app.kubernetes.io/instance")
        if instance != one["metadata"]["name"]:
            yield title(one), f"app.kubernetes.io/instance is {instance}"


@rule("polaris:sensitiveConfigmapContent")
def config_maps_hold_no_secrets(release: Release) -> Iterator[Finding]:
    for one in release.of("ConfigMap"):
        for key, value in (one.get("data") or {}).items():
            if (SENSITIVE_KEY.search(key) and value) or SENSITIVE_TEXT.search(value):
                yield title(one), f"{key} may be a secret"


@rule("ragmesh:no-secret-in-the-release")
def no_secret_is_rendered(release: Release) -> Iterator[Finding]:
    """A Secret made by a template is kept in the release's history, and changes with each rendering if it is random."""
    for one in release.of("Secret"):
        yield title(one), "is made by the chart"


@rule("kube-linter:access-to-secrets", "kube-linter:wildcard-in-rules", "kube-linter:access-to-create-pods")
def rights_are_narrow(release: Release) -> Iterator[Finding]:
    for one in release.of("Role", "ClusterRole"):
        for entry in one.get("rules", []):
            resources, verbs = set(entry.get("resources", [])), set(entry.get("verbs", []))
            if "*" in resources | verbs | set(entry.get("apiGroups", [])):
                yield title(one), "has a wildcard"
            if "secrets" in resources or ("pods" in resources and "create" in verbs):
                yield title(one), f"may {sorted(verbs)} {sorted(resources)}"


@rule("polaris:rolePodExecAttach", "polaris:clusterrolePodExecAttach", "kubescape:C-0002")
def nobody_may_exec(release: Release) -> Iterator[Finding]:
    for one in release.of("Role", "ClusterRole"):
        for entry in one.get("rules", []):
            if {"pods/exec", "pods/attach"} & set(entry.get("resources", [])):
                yield title(one), "may exec into Pods"


@rule("kube-linter:cluster-admin-role-binding", "polaris:rolebindingClusterAdminRole")
def nobody_is_cluster_admin(release: Release) -> Iterator[Finding]:
    for one in release.of("RoleBinding", "ClusterRoleBinding"):
        if one["roleRef"]["name"] == "cluster-admin":
            yield title(one), "binds cluster-admin"
