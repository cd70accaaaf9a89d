"""A rule that finds nothing proves something only if it can find: each is shown a release that breaks it."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import pytest

import chart.rules  # noqa: F401 (registers the rules)
from chart import helm
from chart.objects import Object, Release
from chart.rules.registry import RULES

Break = Callable[[Release], object]
META = {"name": "other", "namespace": "ragmesh", "labels": {}}


def pod(release: Release) -> Object:
    return release.named("Deployment", "ragmesh-gateway")["spec"]["template"]["spec"]  # type: ignore[no-any-return]  # of plain dictionaries


def container(release: Release) -> Object:
    return pod(release)["containers"][0]  # type: ignore[no-any-return]  # of plain dictionaries


def security(release: Release) -> Object:
    pod(release).pop("securityContext")
    return container(release)["securityContext"]  # type: ignore[no-any-return]  # of plain dictionaries


def spec(kind: str, name: str) -> Callable[[Release], Object]:
    return lambda release: release.named(kind, name)["spec"]


gateway = spec("Deployment", "ragmesh-gateway")
scaler = spec("HorizontalPodAutoscaler", "ragmesh-gateway")
budget = spec("PodDisruptionBudget", "ragmesh-gateway")
service = spec("Service", "ragmesh-gateway")


def without(part: Callable[[Release], Object], *path: str) -> Break:
    """Takes a field out."""

    def change(release: Release) -> None:
        found = part(release)
        for step in path[:-1]:
            found = found[step]
        found.pop(path[-1])

    return change


def with_(part: Callable[[Release], Object], **fields: object) -> Break:
    """Sets fields."""
    return lambda release: part(release).update(deepcopy(fields))


def plus(kind: str, **fields: object) -> Break:
    """Puts an object in."""
    version = "rbac.authorization.k8s.io/v1" if "Role" in kind else "v1"
    return lambda release: release.objects.append(
        {"apiVersion": version, "kind": kind, "metadata": deepcopy(META), **deepcopy(fields)}
    )


def minus(kind: str) -> Break:
    """Takes all objects of a kind out."""

    def change(release: Release) -> None:
        release.objects[:] = [one for one in release.objects if one["kind"] != kind]

    return change


CRON: Object = {"jobTemplate": {"spec": {"template": {"metadata": {}, "spec": {"containers": []}}}}}
SELECTOR = {"matchLabels": {"nobody": "has it"}}
POD_SELECTOR = {"podSelector": SELECTOR, "policyTypes": ["Ingress"]}

BREAKS: dict[str, Break] = {
    # containers
    "kube-score:container-resources": without(container, "resources", "limits", "memory"),
    "kube-score:container-ephemeral-storage-request-and-limit": without(
        container, "resources", "requests", "ephemeral-storage"
    ),
    "kube-score:container-image-tag": with_(container, image="localhost:5000/ragmesh"),
    "kube-score:container-image-pull-policy": with_(container, imagePullPolicy="IfNotPresent"),
    "kube-score:container-security-context-readonlyrootfilesystem": without(security, "readOnlyRootFilesystem"),
    "kube-score:container-security-context-privileged": with_(security, privileged=True),
    "kube-score:container-security-context-user-group-id": with_(security, runAsUser=1000),
    "kube-linter:run-as-non-root": without(security, "runAsNonRoot"),
    "kube-linter:privilege-escalation-container": without(security, "allowPrivilegeEscalation"),
    "kube-linter:drop-net-raw-capability": with_(security, capabilities={"drop": ["NET_RAW"]}),
    "kube-score:container-seccomp-profile": with_(security, seccompProfile={"type": "Unconfined"}),
    "kube-linter:unsafe-proc-mount": with_(security, procMount="Unmasked"),
    "kube-linter:no-liveness-probe": without(container, "livenessProbe"),
    "kube-linter:no-readiness-probe": without(container, "readinessProbe"),
    "kube-score:pod-probes-identical": lambda release: container(release).update(
        readinessProbe=container(release)["livenessProbe"]
    ),
    "kube-linter:liveness-port": with_(container, livenessProbe={"grpc": {"port": 1}}),
    "kube-score:container-ports-check": with_(container, ports=[{"containerPort": 9090}]),
    "polaris:hostPortSet": with_(container, ports=[{"name": "grpc", "containerPort": 9090, "hostPort": 9090}]),
    "kube-score:environment-variable-key-duplication": with_(container, env=[{"name": "A", "value": "1"}] * 2),
    "kube-linter:env-var-secret": with_(container, env=[{"name": "RAGMESH_MODEL_KEY", "value": "sk-1"}]),
    "kube-linter:read-secret-from-env-var": with_(container, envFrom=[{"secretRef": {"name": "ragmesh"}}]),
    # pods
    "pod-security:restricted-volumes": with_(pod, volumes=[{"name": "etc", "hostPath": {"path": "/etc"}}]),
    "kube-linter:unsafe-sysctls": with_(pod, securityContext={"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}),
    "kube-linter:host-network": with_(pod, hostNetwork=True),
    "kube-linter:host-pid": with_(pod, hostIPC=True),
    "kube-linter:default-service-account": without(pod, "serviceAccountName"),
    "kube-linter:non-existent-service-account": with_(pod, serviceAccountName="other"),
    "polaris:automountServiceAccountToken": without(pod, "automountServiceAccountToken"),
    "kube-linter:priority-class-name": without(pod, "priorityClassName"),
    "kube-linter:dnsconfig-options": without(pod, "dnsConfig"),
    "kube-linter:restart-policy": without(pod, "restartPolicy"),
    "kube-linter:no-anti-affinity": without(pod, "affinity"),
    "kube-score:pod-topology-spread-constraints": with_(
        pod, topologySpreadConstraints=[{"topologyKey": "zone", "labelSelector": SELECTOR}]
    ),
    # workloads
    "kube-score:deployment-replicas": with_(scaler, minReplicas=1),
    "kube-linter:minimum-three-replicas": with_(scaler, minReplicas=2),
    "kube-score:deployment-targeted-by-hpa-does-not-have-replicas-configured": with_(gateway, replicas=3),
    "kube-score:deployment-strategy": with_(gateway, strategy={"type": "Recreate"}),
    "ragmesh:no-replica-less-while-rolling": without(gateway, "strategy", "rollingUpdate", "maxUnavailable"),
    "kube-linter:mismatching-selector": with_(gateway, selector=SELECTOR),
    "kube-score:statefulset-has-servicename": plus(
        "StatefulSet",
        spec={"serviceName": "ragmesh-gateway", "selector": SELECTOR, "template": {"metadata": {}, "spec": {}}},
    ),
    "kube-linter:job-ttl-seconds-after-finished": without(spec("Job", "ragmesh-migrate"), "ttlSecondsAfterFinished"),
    "kube-score:cronjob-has-deadline": plus("CronJob", spec=CRON),
    "ragmesh:jobs-end": without(spec("Pod", "ragmesh-test"), "activeDeadlineSeconds"),
    "kube-score:horizontalpodautoscaler-has-target": with_(scaler, scaleTargetRef={"kind": "Deployment", "name": "x"}),
    "kube-score:horizontalpodautoscaler-replicas": with_(scaler, minReplicas=1),
    "polaris:hpaMaxAvailability": with_(scaler, maxReplicas=3),
    "ragmesh:scaling-down-is-slow": without(scaler, "behavior"),
    "kube-score:deployment-has-poddisruptionbudget": minus("PodDisruptionBudget"),
    "kube-score:poddisruptionbudget-has-policy": without(budget, "maxUnavailable"),
    "kube-linter:pdb-unhealthy-pod-eviction-policy": without(budget, "unhealthyPodEvictionPolicy"),
    "polaris:pdbDisruptionsIsZero": with_(budget, maxUnavailable=0),
    "polaris:pdbMinAvailableGreaterThanHPAMinReplicas": with_(budget, minAvailable=3),
    # network
    "kube-score:service-targets-pod": with_(service, selector={"nobody": "has it"}),
    "ragmesh:service-target-ports": with_(service, ports=[{"name": "grpc", "port": 9090, "targetPort": "gprc"}]),
    "kube-score:service-type": with_(service, type="NodePort"),
    "kube-score:ingress-targets-service": with_(service, ports=[{"name": "grpcs", "port": 443, "targetPort": "grpc"}]),
    "polaris:tlsSettingsMissing": without(spec("Ingress", "ragmesh-rest"), "tls"),
    "kube-linter:dangling-servicemonitor": minus("Service"),
    "kube-score:networkpolicy-targets-pod": plus("NetworkPolicy", spec=POD_SELECTOR),
    "kube-score:pod-networkpolicy": minus("NetworkPolicy"),
    "kubescape:C-0054": with_(spec("NetworkPolicy", "ragmesh-default-deny"), egress=[{}]),
    # objects
    "kube-score:stable-version": lambda release: release.of("Deployment")[0].update(apiVersion="extensions/v1beta1"),
    "kube-score:label-values": lambda release: release.of("Service")[0]["metadata"]["labels"].update(a="-b"),
    "ragmesh:one-of-each-name": lambda release: release.objects.append(release.objects[0]),
    "kube-linter:use-namespace": lambda release: release.of("Service")[0]["metadata"].pop("namespace"),
    "polaris:metadataAndInstanceMismatched": plus("ConfigMap"),
    "polaris:sensitiveConfigmapContent": plus("ConfigMap", data={"URL": "redis://user:pass@host"}),
    "ragmesh:no-secret-in-the-release": plus("Secret"),
    "kube-linter:access-to-secrets": plus("Role", rules=[{"resources": ["secrets"], "verbs": ["get"]}]),
    "polaris:rolePodExecAttach": plus("ClusterRole", rules=[{"resources": ["pods/exec"], "verbs": ["create"]}]),
    "kube-linter:cluster-admin-role-binding": plus("ClusterRoleBinding", roleRef={"name": "cluster-admin"}),
}


def test_every_rule_is_tried() -> None:
    assert sorted(BREAKS) == sorted(RULES)


@pytest.mark.parametrize("name", RULES)
def test_a_rule_finds_what_breaks_it(name: str) -> None:
    release = helm.render("production")
    before = RULES[name].findings(release)
    BREAKS[name](release)
    assert set(RULES[name].findings(release)) - set(before)
