"""Secrets are files of the containers that read them, and of no other: never a variable, never in a ConfigMap."""

from __future__ import annotations

import re

import pytest

from chart import helm
from chart.objects import Object, Workload, told

SETTINGS = (helm.REPOSITORY / "docs/settings.md").read_text(encoding="utf-8")
# Of the reference: what is secret, and what any service reads.
SECRET = set(re.findall(r"^\| `(RAGMESH_\w+)` .*Secret; may be given as a file", SETTINGS, re.MULTILINE))
KNOWN = set(re.findall(r"^\| `(RAGMESH_\w+)`", SETTINGS, re.MULTILINE))
READERS = {
    variable: {"gateway", "retriever", "generator", "ingestor"} if readers == "all" else set(readers.split(", "))
    for variable, readers in re.findall(r"^\| `(RAGMESH_\w+)` \| [^|]* \| ([^|]*?) \|", SETTINGS, re.MULTILINE)
}
SERVICES = ("gateway", "retriever", "generator", "ingestor")


def setting(variable: str) -> str:
    """The setting that a variable is about: some name files themselves, secrets may be given as a file."""
    return variable if variable in READERS else variable.removesuffix("_FILE")


def files(workload: Workload, container: Object) -> dict[str, tuple[str, str]]:
    """The files that the container gets from Secrets: path -> (Secret, key)."""
    mounts = {one["name"]: one["mountPath"] for one in container.get("volumeMounts", [])}
    return {
        f"{mounts[volume['name']]}/{item['path']}": (volume["secret"]["secretName"], item["key"])
        for volume in workload.spec.get("volumes", [])
        if "secret" in volume and volume["name"] in mounts
        for item in volume["secret"]["items"]
    }


def test_the_reference_of_settings_is_read() -> None:
    assert {"RAGMESH_IDENTITY_KEYS", "RAGMESH_MODEL_KEY", "RAGMESH_STATE_URL"} <= SECRET <= KNOWN


@pytest.mark.parametrize("values", helm.CI_VALUES)
def test_what_is_secret_comes_as_a_file_that_is_there(values: str) -> None:
    release = helm.shared(values)
    secret_in_values = {"RAGMESH_STATE_URL", "RAGMESH_CACHE_URL"}  # plain when the address holds no password
    for workload, container in release.containers():
        found, mounted = told(container), files(workload, container)
        assert (set(found) & SECRET) - secret_in_values == set(), workload.name
        for name in secret_in_values & set(found):
            assert "@" not in found[name]
        for name, path in found.items():
            if name.removesuffix("_FILE") in SECRET and name.endswith("_FILE"):
                assert path in mounted, f"{workload.name}: {name} names {path}"


@pytest.mark.parametrize("values", helm.CI_VALUES)
def test_a_service_gets_the_keys_it_reads_and_no_other(values: str) -> None:
    for workload, container in helm.shared(values).containers():
        if container["name"] not in SERVICES:
            continue
        named = {path: setting(name) for name, path in told(container).items() if name.endswith("_FILE")}
        for path in files(workload, container):
            assert container["name"] in READERS[named[path]], f"{workload.name} has {path}"


@pytest.mark.parametrize("values", helm.CI_VALUES)
def test_a_service_is_told_only_what_it_reads(values: str) -> None:
    for workload, container in helm.shared(values).containers():
        if container["name"] not in SERVICES:
            continue
        for name in told(container):
            assert container["name"] in READERS[setting(name)], f"{workload.name}: {name}"


@pytest.mark.parametrize("values", helm.CI_VALUES)
def test_a_service_is_told_all_that_it_must_be(values: str) -> None:
    required = set(re.findall(r"^\| `(RAGMESH_\w+)` \| required", SETTINGS, re.MULTILINE)) - {"RAGMESH_MODELS_DIR"}
    for workload, container in helm.shared(values).containers():
        if container["name"] in SERVICES:
            given = {name.removesuffix("_FILE") for name in told(container)}
            wanted = {name for name in required if container["name"] in READERS[name]}
            assert wanted - given == set(), workload.name  # the images say RAGMESH_MODELS_DIR


@pytest.mark.parametrize("values", helm.CI_VALUES)
def test_secrets_are_read_by_the_user_and_its_group_alone(values: str) -> None:
    for workload in helm.shared(values).workloads():
        for volume in workload.spec.get("volumes", []):
            if "secret" in volume:
                assert volume["secret"]["defaultMode"] == 0o440, workload.name
                assert volume["secret"]["items"], f"{workload.name} gets the whole Secret"
        for container in workload.containers:
            for mount in container.get("volumeMounts", []):
                if mount["mountPath"].startswith("/etc/ragmesh"):
                    assert mount["readOnly"] is True
                    assert "subPath" not in mount, "new files would never arrive"


def test_an_external_secret_asks_for_every_key_that_is_mounted() -> None:
    release = helm.shared("production")
    external = release.of("ExternalSecret")[0]["spec"]
    asked = {one["secretKey"] for one in external["data"]}
    mounted = {
        key
        for workload, container in release.containers()
        for secret, key in files(workload, container).values()
        if secret == external["target"]["name"]
    }
    for trigger in release.of("TriggerAuthentication"):
        mounted |= {one["key"] for one in trigger["spec"]["secretTargetRef"]}
    assert asked == mounted


def test_what_a_certificate_makes_is_what_is_mounted() -> None:
    for values in ("production", "cert-manager"):
        release = helm.shared(values)
        made = {one["spec"]["secretName"] for one in release.of("Certificate")}
        mounted = {
            secret
            for workload, container in release.containers()
            for secret, key in files(workload, container).values()
            if key.startswith("tls.")
        }
        assert made == mounted


def test_the_names_in_certificates_are_those_that_the_gateway_calls() -> None:
    release = helm.shared("cert-manager")
    names = {name for one in release.of("Certificate") for name in one["spec"]["dnsNames"]}
    services = {one["metadata"]["name"] for one in release.of("Service") if one["spec"].get("clusterIP") == "None"}
    found = told(release.named("Deployment", "ragmesh-gateway")["spec"]["template"]["spec"]["containers"][0])
    for peer in ("RETRIEVER", "GENERATOR", "INGESTOR"):
        host = found[f"RAGMESH_{peer}_TARGET"].removeprefix("dns:///").rpartition(":")[0]
        assert host in names
        assert host.split(".")[:2] == [f"ragmesh-{peer.lower()}", helm.NAMESPACE]
        assert host.partition(".")[0] in services


def test_the_second_way_to_a_service_is_an_address_of_those_that_are_ready() -> None:
    release = helm.shared("production")
    services = {one["metadata"]["name"]: one["spec"] for one in release.of("Service")}
    found = told(release.named("Deployment", "ragmesh-gateway")["spec"]["template"]["spec"]["containers"][0])
    for peer in ("RETRIEVER", "GENERATOR", "INGESTOR"):
        ways = [
            found[f"RAGMESH_{peer}{way}"].removeprefix("dns:///").split(".")[0]
            for way in ("_TARGET", "_FALLBACK_TARGET")
        ]
        first, second = (services[name] for name in ways)
        assert (first["clusterIP"], first["publishNotReadyAddresses"]) == ("None", True)
        assert "clusterIP" not in second
        assert "publishNotReadyAddresses" not in second
        assert first["selector"] == second["selector"]
        assert found[f"RAGMESH_{peer}_FALLBACK_TARGET"].endswith(f":{second['ports'][0]['port']}")
