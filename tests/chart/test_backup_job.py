"""k8s/backup-job.yaml: what it takes from a release is there, it sees no other secret, it keeps the newest files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from chart import helm

JOB = yaml.safe_load((helm.REPOSITORY / "k8s/backup-job.yaml").read_text(encoding="utf-8"))
POD: dict[str, Any] = JOB["spec"]["template"]["spec"]
NEEDS = ("RAGMESH_RECORDS_", "RAGMESH_VECTORS_", "RAGMESH_BLOBS_")


@pytest.mark.parametrize("values", ["production", "passwords"])
def test_it_finds_the_account_the_settings_and_the_secrets_of_the_stores(values: str) -> None:
    objects = [each for each in yaml.safe_load_all(helm.manifests(values)) if each]
    found = {(each["kind"], each["metadata"]["name"]): each for each in objects}
    assert ("ServiceAccount", POD["serviceAccountName"]) in found
    [container] = POD["containers"]
    [source] = container["envFrom"]
    settings = found["ConfigMap", source["configMapRef"]["name"]]["data"]
    [secrets] = [volume["secret"] for volume in POD["volumes"] if volume["name"] == "secrets"]
    mounted = {f"/etc/ragmesh/secrets/{item['path']}" for item in secrets["items"]}
    files = {value for name, value in settings.items() if name.startswith(NEEDS) and name.endswith("_FILE")}
    assert files
    assert files <= mounted
    assert not mounted & {settings["RAGMESH_IDENTITY_KEYS_FILE"], settings.get("RAGMESH_STATE_URL_FILE")}


def test_the_newest_backups_stay(tmp_path: Path) -> None:
    [prune] = POD["initContainers"]
    script = prune["command"][2]
    assert '"/backups"' in script
    names = [f"ragmesh-202611{day:02}-030000.backup" for day in range(1, 11)]
    for name in (*names, "mine.backup", ".ragmesh-20261111-030000.backup.ab"):
        (tmp_path / name).touch()
    exec(script.replace('"/backups"', repr(str(tmp_path))))
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(
        [*names[-6:], "mine.backup", ".ragmesh-20261111-030000.backup.ab"]
    )
