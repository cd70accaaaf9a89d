"""Which stores a command takes for those of a home's mesh, in a shell that names all, some or none of them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest

from ragmesh_cli.backups.stores import reachable
from ragmesh_cli.doctor.finding import Situation
from ragmesh_cli.doctor.stores import child_environment
from ragmesh_cli.failure import Failure
from ragmesh_cli.home import Home
from ragmesh_cli.mesh.places import filled, named

S3 = {
    "RAGMESH_BLOBS_URL": "s3://originals/mesh",
    "RAGMESH_BLOBS_S3_ENDPOINT": "https://s3.example",
    "RAGMESH_BLOBS_S3_REGION": "eu-west-1",
}
SECRETS = {"RAGMESH_BLOBS_S3_SECRET_KEY": "quiet", "RAGMESH_VECTORS_TOKEN": "root:quiet"}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    made.prepare()
    (made.path / "records.db").touch()
    return made


def at_home(home: Home) -> dict[str, str]:
    return {
        "RAGMESH_RECORDS_URL": f"sqlite:{home.path}/records.db",
        "RAGMESH_BLOBS_URL": f"file:{home.path}/blobs",
    }


def test_no_secret_is_remembered(home: Home) -> None:
    vectors = {"RAGMESH_VECTORS_URL": "https://root:quiet@milvus:19530"}
    home.write_stores(named({**S3, **SECRETS, **vectors, "RAGMESH_RECORDS_DATABASE": "of no store that is named"}))
    assert home.stores() == {**S3, "RAGMESH_VECTORS_URL": "https://milvus:19530"}
    assert "quiet" not in home.stores_file.read_text()


def test_what_the_shell_does_not_name_is_as_the_mesh_was_run(home: Home) -> None:
    home.write_stores(S3)
    assert filled(home, {"A": "b"}) == {**at_home(home), **S3, "A": "b"}
    for url in ("s3://originals/mesh", "s3://originals/mesh/"):
        assert filled(home, {"RAGMESH_BLOBS_URL": url}) == {**at_home(home), **S3, "RAGMESH_BLOBS_URL": url}


@pytest.mark.parametrize(
    ("remembered", "shell", "name"),
    [
        (S3, {"RAGMESH_BLOBS_URL": "s3://other"}, "RAGMESH_BLOBS_URL"),
        (S3, {"RAGMESH_BLOBS_S3_ENDPOINT": "https://other.example"}, "RAGMESH_BLOBS_S3_ENDPOINT"),
        (S3, {"RAGMESH_RECORDS_URL": "bolt://h:7687"}, "RAGMESH_RECORDS_URL"),
        ({}, {"RAGMESH_VECTORS_URL": "milvus:19530"}, "RAGMESH_VECTORS_URL"),
        ({}, {"RAGMESH_BLOBS_URL": "file:/elsewhere"}, "RAGMESH_BLOBS_URL"),
    ],
)
def test_another_store_than_the_meshs_is_refused(
    home: Home, remembered: Mapping[str, str], shell: Mapping[str, str], name: str
) -> None:
    home.write_stores(remembered)
    with pytest.raises(Failure, match=f"^{name} is .* was last run with "):
        filled(home, shell)


def test_other_words_for_the_same_store_and_another_way_in_are_not_refused(home: Home) -> None:
    home.write_stores({**S3, "RAGMESH_VECTORS_URL": "milvus:19530"})
    filled(
        home,
        {
            "RAGMESH_RECORDS_URL": f"sqlite://{home.path}/records.db",
            "RAGMESH_VECTORS_URL": "http://root:quiet@milvus:19530",
            "RAGMESH_BLOBS_S3_REGION": "eu-west-2",
        },
    )


def test_a_home_that_remembers_nothing_refuses_nothing(home: Home) -> None:
    assert filled(home, S3) == {**at_home(home), **S3}


async def test_the_mesh_that_runs_is_backed_up_with_the_stores_that_it_has(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("RAGMESH_")]:
        monkeypatch.delenv(name)
    home.write_stores(S3)
    state = {
        "pid": os.getpid(),
        "started": psutil.Process().create_time(),
        "ready": True,
        "processes": [{"name": "milvus", "address": "unix:/x"}],
    }
    home.write_state(state)
    async with reachable(home, made=True) as environ:
        assert S3.items() <= environ.items()
        assert (environ["RAGMESH_VECTORS_URL"], environ["RAGMESH_RECORDS_URL"]) == (
            "unix:/x",
            f"sqlite:{home.path}/records.db",
        )
    home.write_state({**state, "ready": False})
    with pytest.raises(Failure, match="is starting; try again"):
        async with reachable(home, made=False):
            pass


async def test_what_is_restored_to_a_new_home_is_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new = Home(tmp_path / "new")
    shell = {**S3, "RAGMESH_VECTORS_URL": "milvus:19530"}
    for name, value in shell.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(OSError, match="disk"):
        async with reachable(new, made=True):
            raise OSError("the disk is full")
    assert new.stores() is None
    async with reachable(new, made=True):
        pass
    assert new.stores() == shell


def test_the_doctor_does_not_take_the_homes_files_for_a_store_that_is_elsewhere(home: Home) -> None:
    home.write_stores(S3)
    looked_at = child_environment(Situation(home, {}, None))
    assert "RAGMESH_BLOBS_URL" not in looked_at
    assert looked_at["RAGMESH_RECORDS_URL"] == at_home(home)["RAGMESH_RECORDS_URL"]


def test_a_damaged_file_is_named(home: Home) -> None:
    home.stores_file.write_text("{")
    with pytest.raises(Failure, match=r"stores\.json cannot be read; the next `ragmesh up` writes it again"):
        filled(home, {})
