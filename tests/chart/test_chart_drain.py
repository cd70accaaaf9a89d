"""The arithmetic of stopping: what Kubernetes grants is what the process was told it has, and a little more."""

from __future__ import annotations

import re

import pytest

from chart import helm
from chart.objects import Release, Workload, told

# Sending the last spans, and what is left for closing channels and stores.
FLUSH_SECONDS, SPARE_SECONDS = 2, 5
DNS_TTL_SECONDS = 30
"""`ttl 30` and `cache 30` of the Corefile that kubeadm writes (https://kubernetes.io/docs/tasks/administer-cluster/
dns-custom-nameservers/)."""
SERVICES = ("gateway", "retriever", "generator", "ingestor")
SPLIT = [name for name in helm.CI_VALUES if not name.startswith("embedded")]


def settings(release: Release, component: str) -> dict[str, str]:
    return told(release.named("Deployment", f"ragmesh-{component}")["spec"]["template"]["spec"]["containers"][0])


def needs(workload: Workload) -> float:
    """Seconds from the order to stop to the exit, read from what the container gets."""
    container = workload.containers[0]
    found = told(container)
    before: int = container["lifecycle"]["preStop"]["sleep"]["seconds"] if "lifecycle" in container else 0
    drain, grace = float(found["RAGMESH_DRAIN_SECONDS"]), float(found["RAGMESH_GRACE_SECONDS"])
    return before + drain + grace + FLUSH_SECONDS + SPARE_SECONDS


@pytest.mark.parametrize("values", SPLIT)
def test_the_grace_period_holds_the_whole_drain(values: str) -> None:
    release = helm.shared(values)
    for workload in release.workloads("Deployment"):
        assert workload.spec["terminationGracePeriodSeconds"] >= needs(workload), workload.name


@pytest.mark.parametrize("values", SPLIT)
def test_the_gateway_outlasts_those_it_calls(values: str) -> None:
    """A call that the gateway still finishes must find its inner service's answer within the gateway's own grace."""
    release = helm.shared(values)
    grace = {name: float(settings(release, name)["RAGMESH_GRACE_SECONDS"]) for name in SERVICES}
    assert grace["gateway"] > grace["generator"]


def test_a_preset_period_is_taken_when_it_is_long_enough() -> None:
    exact = int(needs(helm.shared("minimal").workloads("Deployment")[0]))
    for seconds in (exact, exact + 60):
        release = helm.render("minimal", f"gateway.terminationGracePeriodSeconds={seconds}")
        assert (
            release.named("Deployment", "ragmesh-gateway")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
            == seconds
        )
    assert f"set it to {exact} or more" in " ".join(
        helm.refusal("minimal", f"gateway.terminationGracePeriodSeconds={exact - 1}").split()
    )


def test_a_longer_drain_lengthens_the_period_by_itself() -> None:
    release = helm.render("minimal", "default.drain.preStopSeconds=15", "ingestor.drain.graceSeconds=300")
    period = {
        one.containers[0]["name"]: one.spec["terminationGracePeriodSeconds"] for one in release.workloads("Deployment")
    }
    assert period["ingestor"] == 15 + 8 + 300 + FLUSH_SECONDS + SPARE_SECONDS
    assert period["retriever"] == 15 + 8 + 20 + FLUSH_SECONDS + SPARE_SECONDS


@pytest.mark.parametrize("values", SPLIT)
def test_a_pod_serves_until_dns_has_forgotten_the_answers_that_name_only_pods_that_are_gone(values: str) -> None:
    """A client asks DNS again when it is told to leave a pod, at most every so many seconds, and hears what was so up
    to the TTL before; its answer must then name the pod that was made when this one was told to stop."""
    text = (helm.REPOSITORY / "libs/servicekit/src/ragmesh_servicekit/channel_options.py").read_text(encoding="utf-8")
    found = re.search(r'"grpc\.dns_min_time_between_resolutions_ms", ([\d_]+)', text)
    assert found
    for workload in helm.shared(values).workloads("Deployment"):
        before = workload.containers[0]["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert before >= DNS_TTL_SECONDS + int(found[1]) / 1000, workload.name


def test_no_pre_stop_is_no_hook() -> None:
    release = helm.render("minimal", "default.drain.preStopSeconds=0")
    for workload in release.workloads("Deployment"):
        assert "lifecycle" not in workload.containers[0]
        assert workload.spec["terminationGracePeriodSeconds"] >= needs(workload)


def test_the_drain_is_noticed_before_it_ends() -> None:
    """Not ready for the drain's seconds: readiness must be asked, and fail, within them."""
    for values in SPLIT:
        release = helm.shared(values)
        for workload in release.workloads("Deployment"):
            seconds = float(told(workload.containers[0])["RAGMESH_DRAIN_SECONDS"])
            assert workload.containers[0]["readinessProbe"]["periodSeconds"] <= seconds


def test_the_embedded_grace_holds_the_supervisor_s() -> None:
    """`ragmesh up` stops gateways, services and stores one after the other, each with a grace of its own."""
    text = (helm.REPOSITORY / "cli/src/ragmesh_cli/mesh/supervisor.py").read_text(encoding="utf-8")
    found = dict(re.findall(r"^(SERVICE|STORE)_GRACE_SECONDS = ([\d.]+)", text, re.MULTILINE))
    workload = helm.shared("embedded").workloads("Deployment")[0]
    before = workload.containers[0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    least = before + 2 * float(found["SERVICE"]) + float(found["STORE"]) + SPARE_SECONDS
    assert workload.spec["terminationGracePeriodSeconds"] >= least
    assert f"set it to {least:.0f} or more" in " ".join(
        helm.refusal("embedded", f"embedded.terminationGracePeriodSeconds={least - 1:.0f}").split()
    )
