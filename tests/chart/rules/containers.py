"""What each container must say: image, resources, security context, probes, ports, variables."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from chart.objects import Object, Release, Workload, effective
from chart.rules.objects_of_a_release import SENSITIVE_TEXT
from chart.rules.registry import Finding, rule

PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
SAFE_CAPABILITIES = {"NET_BIND_SERVICE"}


def where(workload: Workload, container: Object) -> str:
    return f"{workload.name}/{container['name']}"


@rule(
    "kube-score:container-resources",
    "kube-linter:unset-cpu-requirements",
    "kube-linter:unset-memory-requirements",
    "polaris:cpuRequestsMissing",
    "polaris:cpuLimitsMissing",
    "polaris:memoryRequestsMissing",
    "polaris:memoryLimitsMissing",
    "kubescape:C-0270",
    "kubescape:C-0271",
)
def cpu_and_memory_are_bounded(release: Release) -> Iterator[Finding]:
    yield from _resources(release, "cpu", "memory")


@rule("kube-score:container-ephemeral-storage-request-and-limit")
def ephemeral_storage_is_bounded(release: Release) -> Iterator[Finding]:
    yield from _resources(release, "ephemeral-storage")


def _resources(release: Release, *names: str) -> Iterator[Finding]:
    for workload, container in release.containers():
        for kind in ("requests", "limits"):
            for name in names:
                if not container.get("resources", {}).get(kind, {}).get(name):
                    yield where(workload, container), f"resources.{kind}.{name} is not set"


@rule("kube-score:container-image-tag", "kube-linter:latest-tag", "polaris:tagNotSpecified")
def images_are_fixed(release: Release) -> Iterator[Finding]:
    for workload, container in release.containers():
        image = container["image"]
        name, _, tag = image.rpartition("/")[2].partition(":")
        if "@sha256:" not in image and (not tag or tag == "latest"):
            yield where(workload, container), f"{name} has no fixed tag"


@rule("kube-score:container-image-pull-policy", "polaris:pullPolicyNotAlways")
def images_are_always_asked_for(release: Release) -> Iterator[Finding]:
    for workload, container in release.containers():
        if container.get("imagePullPolicy") != "Always":
            yield where(workload, container), "imagePullPolicy is not Always"


@rule(
    "kube-score:container-security-context-readonlyrootfilesystem",
    "kube-linter:no-read-only-root-fs",
    "polaris:notReadOnlyRootFilesystem",
    "kubescape:C-0017",
)
def root_file_systems_are_read_only(release: Release) -> Iterator[Finding]:
    for workload, container in release.containers():
        if effective(workload, container, "readOnlyRootFilesystem") is not True:
            yield where(workload, container), "readOnlyRootFilesystem is not true"


@rule(
    "kube-score:container-security-context-privileged",
    "kube-linter:privileged-container",
    "polaris:runAsPrivileged",
    "kubescape:C-0057",
)
def nothing_is_privileged(release: Release) -> Iterator[Finding]:
    for workload, container in release.containers():
        if effective(workload, container, "privileged"):
            yield where(workload, container), "privileged"


@rule("kube-score:container-security-context-user-group-id")
def users_are_above_10000(release: Release) -> Iterator[Finding]:
    for workload, container in release.containers():
        for field in ("runAsUser", "runAsGroup"):
            if (effective(workload, container, field) or 0) <= 10000:
                yield where(workload, container), f"{field} is not above 10000"


@rule("kube-linter:run-as-non-root", "polaris:runAsRootAllowed", "kubescape:C-0013")
def nothing_runs_as_root(release: Release) -> Iterator[Finding]:
    for workload, container in release.containers():
        if effective(workload, container, "runAsNonRoot") is not True or not effective(
            workload, container, "runAsUser"
        ):
            yield where(workload, container), "may run as root"


@rule("kube-linter:privilege-escalation-container", "polaris:privilegeEscalationAllowed", "kubescape:C-0016")
def nothing_gains_privileges(release: Release) -> Iterator[Finding]:
    for workload, container in release.containers():
        if effective(workload, container, "allowPrivilegeEscalation") is not False:
            yield where(workload, container), "allowPrivilegeEscalation is not false"


@rule(
    "kube-linter:drop-net-raw-capability",
    "polaris:insecureCapabilities",
    "polaris:dangerousCapabilities",
    "polaris:linuxHardening",
    "kubescape:C-0046",
)
def capabilities_are_dropped(release: Release) -> Iterator[Finding]:
    for workload, container in release.containers():
        capabilities = container.get("securityContext", {}).get("capabilities", {})
        if "ALL" not in capabilities.get("drop", []):
            yield where(workload, container), "does not drop ALL capabilities"
        if added := set(capabilities.get("add", [])) - SAFE_CAPABILITIES:
            yield where(workload, container), f"adds {sorted(added)}"


@rule("kube-score:container-seccomp-profile", "kubescape:C-0055")
def seccomp_is_on(release: Release) -> Iterator[Finding]:
    for workload, container in release.containers():
        profile = effective(workload, container, "seccompProfile") or {}
        if profile.get("type") not in ("RuntimeDefault", "Localhost"):
            yield where(workload, container), "has no seccomp profile"


@rule("kube-linter:unsafe-proc-mount")
def proc_is_masked(release: Release) -> Iterator[Finding]:
    for workload, container in release.containers():
        if effective(workload, container, "procMount") not in (None, "Default"):
            yield where(workload, container), "procMount is not Default"


@rule("kube-linter:no-liveness-probe", "polaris:livenessProbeMissing")
def liveness_is_probed(release: Release) -> Iterator[Finding]:
    yield from _without(release, "livenessProbe")


@rule("kube-linter:no-readiness-probe", "polaris:readinessProbeMissing", "kube-score:pod-probes")
def readiness_is_probed(release: Release) -> Iterator[Finding]:
    yield from _without(release, "readinessProbe")


def _without(release: Release, probe: str) -> Iterator[Finding]:
    for workload in release.workloads():
        for container in workload.spec["containers"] if workload.serves else []:
            if probe not in container:
                yield where(workload, container), f"has no {probe}"


@rule("kube-score:pod-probes-identical")
def liveness_differs_from_readiness(release: Release) -> Iterator[Finding]:
    for workload, container in release.containers():
        looks = [
            {key: value for key, value in container.get(name, {}).items() if key in ("grpc", "httpGet", "tcpSocket")}
            for name in ("readinessProbe", "livenessProbe")
        ]
        if looks[0] and looks[0] == looks[1]:
            yield where(workload, container), "asks the same for liveness and readiness"


@rule("kube-linter:liveness-port", "kube-linter:readiness-port", "kube-linter:startup-port")
def probes_ask_open_ports(release: Release) -> Iterator[Finding]:
    for workload, container in release.containers():
        ports = {name for port in container.get("ports", []) for name in (port["containerPort"], port.get("name"))}
        for probe in PROBES:
            for action in ("grpc", "httpGet", "tcpSocket"):
                port = container.get(probe, {}).get(action, {}).get("port")
                if port is not None and port not in ports:
                    yield where(workload, container), f"{probe} asks port {port}, which is not among its ports"


@rule("kube-score:container-ports-check")
def ports_have_one_name_each(release: Release) -> Iterator[Finding]:
    for workload, container in release.containers():
        names = Counter(port.get("name") for port in container.get("ports", []))
        numbers = Counter((port["containerPort"], port.get("protocol", "TCP")) for port in container.get("ports", []))
        if None in names or any(count > 1 for count in (*names.values(), *numbers.values())):
            yield where(workload, container), "ports without a name, or twice"


@rule("polaris:hostPortSet", "kubescape:C-0044")
def no_host_ports(release: Release) -> Iterator[Finding]:
    for workload, container in release.containers():
        if any(port.get("hostPort") for port in container.get("ports", [])):
            yield where(workload, container), "takes a port of the node"


@rule("kube-score:environment-variable-key-duplication")
def variables_are_set_once(release: Release) -> Iterator[Finding]:
    for workload, container in release.containers():
        twice = [name for name, count in Counter(one["name"] for one in container.get("env", [])).items() if count > 1]
        if twice:
            yield where(workload, container), f"sets {twice} twice"


# A file's name and a key's name are no secrets.
SECRET_NAME = re.compile(r"(?i)(password|passwd|secret|token|credential|private.?key|api.?key|_key)$")


@rule("kube-linter:env-var-secret", "polaris:sensitiveContainerEnvVar", "kubescape:C-0012")
def no_secret_in_a_variable(release: Release) -> Iterator[Finding]:
    for workload, container in release.containers():
        for one in container.get("env", []):
            value = one.get("value", "")
            if value and (SECRET_NAME.search(one["name"]) or SENSITIVE_TEXT.search(value)):
                yield where(workload, container), f"{one['name']} holds a secret"


@rule("kube-linter:read-secret-from-env-var")
def secrets_are_files(release: Release) -> Iterator[Finding]:
    for workload, container in release.containers():
        keys = [one["name"] for one in container.get("env", []) if "secretKeyRef" in one.get("valueFrom", {})]
        keys += [one["secretRef"]["name"] for one in container.get("envFrom", []) if "secretRef" in one]
        if keys:
            yield where(workload, container), f"reads {keys} from a Secret into a variable"
