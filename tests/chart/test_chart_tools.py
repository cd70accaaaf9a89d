"""What other people's tools say of the renderings. Each test skips, naming the tool, where it is not installed."""

from __future__ import annotations

import subprocess

import pytest

from chart import helm, score

SCHEMAS = helm.REPOSITORY / "tests/chart/schemas/{{ .ResourceKind }}{{ .KindSuffix }}.json"


def installed(name: str) -> str:
    executable = helm.program(name)
    if executable is None:
        pytest.skip(f"{name} is not on PATH")
    return executable


def conform(manifests: str) -> subprocess.CompletedProcess[str]:
    command = [installed("kubeconform"), "-strict", "-schema-location", str(SCHEMAS)]
    return subprocess.run(command, input=manifests, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("values", helm.CI_VALUES)
def test_helm_lint_has_nothing_to_say(values: str) -> None:
    said = helm.helm("lint", "--strict", str(helm.CHART), "--values", str(helm.values_of(values)))
    assert "[WARNING]" not in said
    assert "[ERROR]" not in said


@pytest.mark.parametrize("values", helm.CI_VALUES)
def test_every_object_fits_the_schema_of_its_kind(values: str) -> None:
    done = conform(helm.manifests(values))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_stores_for_a_trial_and_the_backup_fit_their_schemas() -> None:
    paths = [*(helm.REPOSITORY / "k8s/dev-dependencies").glob("*.yaml"), helm.REPOSITORY / "k8s/backup-job.yaml"]
    texts = [path.read_text(encoding="utf-8") for path in paths if path.name != "kustomization.yaml"]
    assert len(texts) > 5
    done = conform("\n---\n".join(texts))
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_the_cluster_brings_by_itself_is_taken_up() -> None:
    """`auto` makes a ServiceMonitor once the cluster knows the kind."""
    known = helm.manifests("minimal", arguments=("--api-versions", "monitoring.coreos.com/v1"))
    assert "kind: ServiceMonitor" in known
    assert "kind: ServiceMonitor" not in helm.manifests("minimal")
    assert conform(known).returncode == 0


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("terminationGracePeriodSeconds:", "terminationGraceSeconds:"),
        ("minReadySeconds: 10", "minReadySeconds: ten"),
        ("kind: NetworkPolicy", "kind: NetworkPolice"),
    ],
)
def test_a_wrong_field_type_or_kind_does_not_fit(right: str, wrong: str) -> None:
    manifests = helm.manifests("minimal")
    assert right in manifests
    assert conform(manifests.replace(right, wrong)).returncode != 0


@pytest.mark.parametrize("values", helm.CI_VALUES)
def test_kube_score_finds_nothing_unexplained(values: str) -> None:
    installed("kube-score")
    assert score.unexplained(values) == []


def test_kube_score_would_find_something() -> None:
    installed("kube-score")
    checks = {check for check, _, _ in score.findings("embedded")}
    assert {"kube-score:deployment-replicas", "kube-score:deployment-strategy"} <= checks


@pytest.mark.parametrize("values", ["embedded", "minimal", "production"])
def test_rendering_twice_gives_the_same_text(values: str) -> None:
    once = helm.manifests(values)
    helm.manifests.cache_clear()
    assert helm.manifests(values) == once


def test_the_embedded_values_are_those_that_are_shipped() -> None:
    shipped = (helm.CHART / "values-embedded.yaml").read_text(encoding="utf-8")
    sets = helm.helm("template", "ragmesh", str(helm.CHART), "--values", str(helm.CHART / "values-embedded.yaml"))
    assert "kind: Deployment" in sets
    ci = (helm.CHART / "ci/embedded-values.yaml").read_text(encoding="utf-8")
    assert [one for one in shipped.splitlines() if not one.strip().startswith("#") and one not in ci.splitlines()] == []
