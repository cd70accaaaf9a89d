"""What each Pod must say: identity, namespaces of the host, volumes, placement, names it can resolve."""

from __future__ import annotations

from collections.abc import Iterator

from chart.objects import Release, matches, title
from chart.rules.registry import Finding, rule

# Pod Security "restricted".
ALLOWED_VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
}  # fmt: skip
SAFE_SYSCTLS = {
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range",
}  # fmt: skip


@rule("pod-security:restricted-volumes", "kube-linter:sensitive-host-mounts", "kubescape:C-0048")
def volumes_are_allowed(release: Release) -> Iterator[Finding]:
    for workload in release.workloads():
        for volume in workload.spec.get("volumes", []):
            if kinds := set(volume) - {"name"} - ALLOWED_VOLUMES:
                yield workload.name, f"volume {volume['name']} is a {sorted(kinds)}"


@rule("kube-linter:unsafe-sysctls")
def sysctls_are_safe(release: Release) -> Iterator[Finding]:
    for workload in release.workloads():
        for one in workload.spec.get("securityContext", {}).get("sysctls", []):
            if one["name"] not in SAFE_SYSCTLS:
                yield workload.name, f"sets {one['name']}"


@rule("kube-linter:host-network", "polaris:hostNetworkSet", "kubescape:C-0041")
def no_host_network(release: Release) -> Iterator[Finding]:
    yield from _true(release, "hostNetwork")


@rule("kube-linter:host-pid", "kube-linter:host-ipc", "polaris:hostPIDSet", "polaris:hostIPCSet", "kubescape:C-0038")
def no_host_processes(release: Release) -> Iterator[Finding]:
    yield from _true(release, "hostPID", "hostIPC")


def _true(release: Release, *fields: str) -> Iterator[Finding]:
    for workload in release.workloads():
        for field in fields:
            if workload.spec.get(field):
                yield workload.name, f"{field} is true"


@rule("kube-linter:default-service-account")
def accounts_are_named(release: Release) -> Iterator[Finding]:
    for workload in release.workloads():
        if workload.spec.get("serviceAccountName") in (None, "", "default"):
            yield workload.name, "runs as the default ServiceAccount"


@rule("kube-linter:non-existent-service-account")
def accounts_exist(release: Release) -> Iterator[Finding]:
    accounts = {one["metadata"]["name"] for one in release.of("ServiceAccount")}
    for workload in release.workloads():
        if workload.spec.get("serviceAccountName") not in accounts:
            yield workload.name, f"there is no ServiceAccount {workload.spec.get('serviceAccountName')}"


@rule("polaris:automountServiceAccountToken", "kubescape:C-0034")
def no_token_is_mounted(release: Release) -> Iterator[Finding]:
    for workload in release.workloads():
        if workload.spec.get("automountServiceAccountToken") is not False:
            yield workload.name, "automountServiceAccountToken is not false"
    for account in release.of("ServiceAccount"):
        if account.get("automountServiceAccountToken") is not False:
            yield title(account), "automountServiceAccountToken is not false"


@rule("kube-linter:priority-class-name", "polaris:priorityClassNotSet")
def priorities_are_named(release: Release) -> Iterator[Finding]:
    for workload in release.workloads():
        if not workload.spec.get("priorityClassName"):
            yield workload.name, "has no priorityClassName"


@rule("kube-linter:dnsconfig-options")
def few_names_are_tried(release: Release) -> Iterator[Finding]:
    for workload in release.workloads():
        options = {one["name"] for one in workload.spec.get("dnsConfig", {}).get("options", [])}
        if "ndots" not in options:
            yield workload.name, "dnsConfig says nothing of ndots"


@rule("kube-linter:restart-policy")
def restarts_are_decided(release: Release) -> Iterator[Finding]:
    for workload in release.workloads():
        if workload.spec.get("restartPolicy") not in ("Always", "OnFailure"):
            yield workload.name, f"restartPolicy is {workload.spec.get('restartPolicy')}"


@rule(
    "kube-linter:no-anti-affinity",
    "kube-score:deployment-has-host-podantiaffinity",
    "kube-score:statefulset-has-host-podantiaffinity",
)
def replicas_keep_apart(release: Release) -> Iterator[Finding]:
    for workload in release.workloads():
        if not workload.serves:
            continue
        anti = workload.spec.get("affinity", {}).get("podAntiAffinity", {})
        terms = [
            *anti.get("requiredDuringSchedulingIgnoredDuringExecution", []),
            *(one["podAffinityTerm"] for one in anti.get("preferredDuringSchedulingIgnoredDuringExecution", [])),
        ]
        if not any(
            one["topologyKey"] == "kubernetes.io/hostname" and matches(one["labelSelector"], workload.labels)
            for one in terms
        ):
            yield workload.name, "has no podAntiAffinity against its own Pods"


@rule("kube-score:pod-topology-spread-constraints", "polaris:topologySpreadConstraint")
def replicas_are_spread(release: Release) -> Iterator[Finding]:
    for workload in release.workloads():
        spreads = workload.spec.get("topologySpreadConstraints", [])
        if workload.serves and not any(matches(one.get("labelSelector", {}), workload.labels) for one in spreads):
            yield workload.name, "has no topologySpreadConstraints for its own Pods"
        for one in spreads:
            if not one.get("labelSelector") or not matches(one["labelSelector"], workload.labels):
                yield workload.name, f"spreads other Pods than its own over {one['topologyKey']}"
