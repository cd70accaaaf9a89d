"""Homes that another release made: those of before open, those of after are refused in one sentence."""

from __future__ import annotations

import sqlite3
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from support.mesh import Mesh
from support.redis import RedisProcess

FIXTURES = Path(__file__).parents[1] / "fixtures"
HOMES = sorted(FIXTURES.glob("home-*.tar.gz"))
UP_SECONDS = 120


def unpack(archive: Path, mesh: Mesh) -> None:
    with tarfile.open(archive) as tar:
        tar.extractall(mesh.home, filter="data")
    mesh.prepare()


@pytest.mark.parametrize("archive", HOMES, ids=[path.name.removesuffix(".tar.gz") for path in HOMES])
def test_a_home_of_a_release_before_opens_with_everything_in_it(archive: Path, fresh_mesh: Mesh) -> None:
    unpack(archive, fresh_mesh)
    fresh_mesh.start()
    reader = (fresh_mesh.home / "reader.key").read_text().strip()
    with fresh_mesh.rest(reader) as rest:
        listed = rest.get("/v1/collections/facts/documents").json()["documents"]
        assert {d["document_id"]: d["active_version"] for d in listed} == {
            "keeper.md": 1,
            "lighthouse.md": 1,
            "tea.md": 2,
        }
        assert [job["state"] for job in rest.get("/v1/jobs").json()["jobs"]] == ["READY"] * 4
        assert "70 degrees" in rest.get("/v1/collections/facts/documents/tea.md:content").json()["text"]
    assert {line.split()[2] for line in fresh_mesh.run("keys", "list").stdout.splitlines()} >= {"bootstrap", "reader"}
    hits = fresh_mesh.search("facts", "When was the Fastnet lighthouse lit?", reader)
    assert hits[0]["document_id"] == "lighthouse.md"
    fresh_mesh.ingest("facts", {"new.md": "# Heron\n\nThe heron eats fish."}, reader)
    assert fresh_mesh.search("facts", "What does the heron eat?", reader)[0]["document_id"] == "new.md"
    assert fresh_mesh.terminate() == 0


def newer_home(home: Path) -> None:
    (home / "version").write_text("9\n")


def newer_records(home: Path) -> None:
    with sqlite3.connect(home / "records.db") as connection:
        connection.execute("UPDATE schema_versions SET version = 9 WHERE component = 'records'")
    connection.close()


def newer_redis(home: Path) -> None:
    redis = RedisProcess(home)
    redis.start_and_wait()
    program = Path(redis.command.argv[0]).with_name("redis-cli")
    socket = redis.address.removeprefix("unix://")
    subprocess.run([program, "-s", socket, "set", "ragmesh:schema", "9"], check=True, capture_output=True)
    redis.stop()


def newer_blobs(home: Path) -> None:
    (home / "blobs" / "ragmesh-layout").write_text("9\n")


@pytest.mark.parametrize(
    ("make_newer", "named"),
    [
        (newer_home, "the home "),
        (newer_records, "the records store "),
        (newer_redis, "the Redis for state "),
        (newer_blobs, "the blobs store "),
    ],
)
def test_a_newer_home_or_store_is_refused_with_one_sentence_and_code_2(
    fresh_mesh: Mesh, make_newer: Callable[[Path], None], named: str
) -> None:
    unpack(HOMES[0], fresh_mesh)
    make_newer(fresh_mesh.home)
    done = fresh_mesh.run("up", "--free-ports", timeout=UP_SECONDS)
    failures = [line for line in done.stderr.splitlines() if line.startswith("ragmesh: ")]
    assert done.returncode == 2, done.stderr
    assert len(failures) == 1
    assert named in failures[0]
    assert " 9, " in failures[0]
    assert "a newer ragmesh" in failures[0]
    assert "restore a backup" in failures[0]
    assert "Traceback" not in done.stdout + done.stderr
