"""What Deployments, Jobs, their scalers and their disruption budgets must say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from chart.objects import Object, Release, Workload, matches, title
from chart.rules.registry import Finding, rule


def fewest(release: Release, workload: Workload) -> int:
    """The replicas that are there at least."""
    scaler = release.scaler_of(workload)
    if scaler is None:
        return int(workload.object["spec"].get("replicas", 1))
    return int(scaler["spec"].get("minReplicas") or scaler["spec"].get("minReplicaCount") or 0)


@rule("kube-score:deployment-replicas", "polaris:deploymentMissingReplicas")
def there_are_several(release: Release) -> Iterator[Finding]:
    yield from _fewer(release, 2)


@rule("kube-linter:minimum-three-replicas")
def there_are_three(release: Release) -> Iterator[Finding]:
    yield from _fewer(release, 3)


def _fewer(release: Release, least: int) -> Iterator[Finding]:
    for workload in release.workloads("Deployment", "StatefulSet"):
        if (count := fewest(release, workload)) < least:
            yield workload.name, f"may have {count} replicas"


@rule("kube-score:deployment-targeted-by-hpa-does-not-have-replicas-configured")
def a_scaler_alone_decides(release: Release) -> Iterator[Finding]:
    for workload in release.workloads("Deployment", "StatefulSet"):
        if release.scaler_of(workload) is not None and "replicas" in workload.object["spec"]:
            yield workload.name, "says replicas, and has a scaler"


@rule("kube-score:deployment-strategy", "kube-linter:no-rolling-update-strategy")
def updates_roll(release: Release) -> Iterator[Finding]:
    for workload in release.workloads("Deployment"):
        if workload.object["spec"].get("strategy", {}).get("type") != "RollingUpdate":
            yield workload.name, "strategy is not RollingUpdate"


@rule("ragmesh:no-replica-less-while-rolling")
def updates_take_nothing_away(release: Release) -> Iterator[Finding]:
    for workload in release.workloads("Deployment"):
        spec = workload.object["spec"]
        rolling = spec.get("strategy", {}).get("rollingUpdate")
        if rolling is not None and (str(rolling.get("maxUnavailable")) != "0" or not spec.get("minReadySeconds")):
            yield workload.name, "maxUnavailable is not 0, or minReadySeconds is not set"


@rule(
    "kube-linter:mismatching-selector",
    "kube-score:deployment-pod-selector-labels-match-template-metadata-labels",
    "kube-score:statefulset-pod-selector-labels-match-template-metadata-labels",
)
def selectors_select_their_own(release: Release) -> Iterator[Finding]:
    for workload in release.workloads("Deployment", "StatefulSet"):
        selected = [one.name for one in release.selected_by(workload.object["spec"]["selector"])]
        if selected != [workload.name]:
            yield workload.name, f"selects {selected}"


@rule("kube-score:statefulset-has-servicename")
def stateful_sets_have_a_headless_service(release: Release) -> Iterator[Finding]:
    headless = {one["metadata"]["name"] for one in release.of("Service") if one["spec"].get("clusterIP") == "None"}
    for one in release.of("StatefulSet"):
        if one["spec"].get("serviceName") not in headless:
            yield title(one), "serviceName is no headless Service"


@rule("kube-linter:job-ttl-seconds-after-finished")
def finished_jobs_go(release: Release) -> Iterator[Finding]:
    for one in release.of("Job"):
        if not one["spec"].get("ttlSecondsAfterFinished"):
            yield title(one), "ttlSecondsAfterFinished is not set"


@rule("kube-score:cronjob-has-deadline")
def late_jobs_are_left_out(release: Release) -> Iterator[Finding]:
    for one in release.of("CronJob"):
        if not one["spec"].get("startingDeadlineSeconds"):
            yield title(one), "startingDeadlineSeconds is not set"


@rule("ragmesh:jobs-end")
def jobs_end(release: Release) -> Iterator[Finding]:
    for one in release.of("Job"):
        if not one["spec"].get("activeDeadlineSeconds"):
            yield title(one), "activeDeadlineSeconds is not set"
    for one in release.of("Pod"):
        if not one["spec"].get("activeDeadlineSeconds"):
            yield title(one), "activeDeadlineSeconds is not set"


@rule("kube-score:horizontalpodautoscaler-has-target", "kube-linter:dangling-horizontalpodautoscaler")
def scalers_have_a_target(release: Release) -> Iterator[Finding]:
    targets = {(one["kind"], one["metadata"]["name"]) for one in release.of("Deployment", "StatefulSet")}
    for one in release.of("HorizontalPodAutoscaler", "ScaledObject"):
        target = one["spec"]["scaleTargetRef"]
        if (target.get("kind", "Deployment"), target["name"]) not in targets:
            yield title(one), f"there is no {target['name']}"


@rule("kube-score:horizontalpodautoscaler-replicas", "polaris:hpaMinAvailability", "kube-linter:hpa-minimum-replicas")
def scalers_keep_two(release: Release) -> Iterator[Finding]:
    for one in release.of("HorizontalPodAutoscaler"):
        if one["spec"].get("minReplicas", 1) < 2:
            yield title(one), "minReplicas is below 2"


@rule("polaris:hpaMaxAvailability")
def scalers_have_room(release: Release) -> Iterator[Finding]:
    for one in release.of("HorizontalPodAutoscaler"):
        if one["spec"]["maxReplicas"] <= one["spec"].get("minReplicas", 1):
            yield title(one), "maxReplicas is not above minReplicas"


@rule("ragmesh:scaling-down-is-slow")
def scaling_down_is_slow(release: Release) -> Iterator[Finding]:
    for one in release.of("HorizontalPodAutoscaler"):
        behaviour = one["spec"].get("behavior", {})
        if behaviour.get("scaleDown", {}).get("stabilizationWindowSeconds", 0) < 60 or not behaviour.get("scaleUp"):
            yield title(one), "behavior does not say how fast"


@rule(
    "kube-score:deployment-has-poddisruptionbudget",
    "kube-score:statefulset-has-poddisruptionbudget",
    "polaris:missingPodDisruptionBudget",
)
def drains_are_bounded(release: Release) -> Iterator[Finding]:
    for workload in release.workloads("Deployment", "StatefulSet"):
        if not budgets_of(release, workload):
            yield workload.name, "has no PodDisruptionBudget"


def budgets_of(release: Release, workload: Workload) -> list[Object]:
    return [one for one in release.of("PodDisruptionBudget") if matches(one["spec"]["selector"], workload.labels)]


@rule("kube-score:poddisruptionbudget-has-policy")
def budgets_say_something(release: Release) -> Iterator[Finding]:
    for one in release.of("PodDisruptionBudget"):
        if "minAvailable" not in one["spec"] and "maxUnavailable" not in one["spec"]:
            yield title(one), "neither minAvailable nor maxUnavailable"


@rule("kube-linter:pdb-unhealthy-pod-eviction-policy")
def sick_pods_hold_nothing_up(release: Release) -> Iterator[Finding]:
    for one in release.of("PodDisruptionBudget"):
        if one["spec"].get("unhealthyPodEvictionPolicy") != "AlwaysAllow":
            yield title(one), "unhealthyPodEvictionPolicy is not AlwaysAllow"


@rule("polaris:pdbDisruptionsIsZero", "kube-linter:pdb-max-unavailable", "kube-linter:pdb-min-available")
def budgets_let_nodes_be_drained(release: Release) -> Iterator[Finding]:
    for one in release.of("PodDisruptionBudget"):
        spec = one["spec"]
        if str(spec.get("maxUnavailable", "")) in ("0", "0%") or str(spec.get("minAvailable", "")) == "100%":
            yield title(one), "allows no disruption"


@rule("polaris:pdbMinAvailableGreaterThanHPAMinReplicas")
def budgets_fit_the_fewest(release: Release) -> Iterator[Finding]:
    for workload in release.workloads("Deployment", "StatefulSet"):
        for one in budgets_of(release, workload):
            least: Any = one["spec"].get("minAvailable")
            if isinstance(least, int) and least >= fewest(release, workload):
                yield title(one), f"keeps {least} of {fewest(release, workload)}"
