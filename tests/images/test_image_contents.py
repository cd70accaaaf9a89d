"""What is in the images: the hashed closure, the bill of materials, and nothing that is not needed."""

from __future__ import annotations

import json

import pytest

from support.images import IMAGES, SERVICES, Image, locked, missing, normalised

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())

MARKERS = """
import json, os, platform, sys
print(json.dumps({
    "implementation_name": sys.implementation.name, "implementation_version": platform.python_version(),
    "os_name": os.name, "platform_machine": platform.machine(), "platform_release": platform.release(),
    "platform_system": platform.system(), "platform_version": platform.version(),
    "python_full_version": platform.python_version(),
    "platform_python_implementation": platform.python_implementation(),
    "python_version": ".".join(platform.python_version_tuple()[:2]), "sys_platform": sys.platform, "extra": "",
}))
"""
INSTALLED = """
import importlib.metadata, json
print(json.dumps({d.name: d.version for d in importlib.metadata.distributions(path=[
    p for p in __import__("sys").path if p.startswith("/app/")])}))
"""
BYTES = """
import os
print(sum(os.lstat(os.path.join(r, f)).st_size for r, _, files in os.walk("/app") for f in files))
"""
every_image = pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.name)


@every_image
def test_the_installed_distributions_are_the_locked_closure_and_the_members(image: Image) -> None:
    wanted = locked(image.requirements, json.loads(image.python(MARKERS)))
    installed = {normalised(name): version for name, version in json.loads(image.python(INSTALLED)).items()}
    members = {name: installed.pop(name, None) for name in image.members}
    assert None not in members.values(), members
    assert installed == {name: entry.version for name, entry in wanted.items()}


@every_image
def test_the_bill_of_materials_names_each_with_a_locked_hash(image: Image) -> None:
    wanted = locked(image.requirements, json.loads(image.python(MARKERS)))
    document = json.loads(image.python("print(open('/app/sbom.cdx.json').read())"))
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    listed = {component["name"]: component for component in document["components"]}
    assert set(listed) == {*wanted, *image.members}
    for name, entry in wanted.items():
        assert listed[name]["version"] == entry.version
        assert listed[name]["hashes"][0]["content"] in entry.hashes


@every_image
def test_its_configuration_is_that_of_a_restricted_container(image: Image) -> None:
    found = image.inspect()["Config"]
    user, _, group = found["User"].partition(":")
    assert int(user) > 10000
    assert int(group) > 10000
    assert found["Entrypoint"][:2] == ["python", "-m"]  # a list: no shell starts it
    assert found["Healthcheck"]["Test"] == ["NONE"]
    assert found["Labels"]["org.opencontainers.image.title"] == image.name
    assert {int(port.split("/")[0]) for port in found["ExposedPorts"]} == image.ports
    secrets = [entry for entry in found["Env"] if "KEY" in entry or "PASSWORD" in entry or "TOKEN" in entry]
    assert secrets == []


@every_image
def test_nothing_of_the_build_is_left(image: Image) -> None:
    left = image.python(
        "import glob, shutil, os; "
        "print([*glob.glob('/images'), *glob.glob('/tools'), *glob.glob('/src'), *glob.glob('/*.json'), "
        "*glob.glob('/app/**/direct_url.json', recursive=True), "
        "*filter(None, map(shutil.which, ('gcc', 'cc', 'git', 'hatchling')))])"
    )
    assert left.strip() == "[]"


@pytest.mark.parametrize("image", [SERVICES[0], SERVICES[2]], ids=lambda image: image.name)
def test_gateway_and_generator_stay_small(image: Image) -> None:
    assert int(image.python(BYTES)) < 150_000_000


@pytest.mark.parametrize("image", [SERVICES[1], SERVICES[3]], ids=lambda image: image.name)
def test_retriever_and_ingestor_carry_a_good_graph(image: Image) -> None:
    good = image.python(
        "import os; from pathlib import Path; from ragmesh_backends.embeddings import cache; "
        "print(cache.is_good(Path(os.environ['RAGMESH_MODELS_DIR']) / cache.GRAPH_NAME))"
    )
    assert good.strip() == "True"
