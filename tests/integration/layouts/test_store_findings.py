"""What `python -m ragmesh_ingestor.check` finds in the stores of a home: on the home of a release before, with a real
Redis and Milvus, each thing broken in turn."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ragmesh_backends.blobs import layout as blobs_layout
from ragmesh_backends.embeddings import cache, weights
from ragmesh_backends.redis import layout as redis_layout
from ragmesh_backends.redis.client import connect
from ragmesh_backends.sqlite import inspection as sqlite_inspection
from ragmesh_ingestor import check
from ragmesh_ingestor.check import Finding, look
from support.milvus import MilvusProcess
from support.redis import RedisProcess

ARCHIVE = Path(__file__).parents[2] / "fixtures" / "home-0.1.tar.gz"
INDEX = "c_7264ff7ac72b28d3_e745ff6d"


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hm")
    with tarfile.open(ARCHIVE) as tar:
        tar.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module")
def servers(unpacked: Path) -> Iterator[tuple[str, str]]:
    """Addresses of Redis and Milvus over the home's data."""
    redis, milvus = RedisProcess(unpacked), MilvusProcess(unpacked)
    redis.start_and_wait()
    milvus.start_and_wait()
    yield redis.address, milvus.address
    redis.kill()
    milvus.kill()


@pytest.fixture
def environ(unpacked: Path, servers: tuple[str, str], tmp_path: Path) -> dict[str, str]:
    """A record and blobs of the test's own; the servers are shared."""
    shutil.copy(unpacked / "records.db", tmp_path)
    shutil.copytree(unpacked / "blobs", tmp_path / "blobs")
    return {
        "RAGMESH_RECORDS_URL": f"sqlite:{tmp_path / 'records.db'}",
        "RAGMESH_BLOBS_URL": f"file:{tmp_path / 'blobs'}",
        "RAGMESH_MODELS_DIR": str(tmp_path / "models"),
        "RAGMESH_STATE_URL": servers[0],
        "RAGMESH_VECTORS_URL": servers[1],
    }


async def found(environ: dict[str, str], name: str) -> Finding:
    (finding,) = [each for each in await look(environ) if each.check == name]
    return finding


def record(environ: dict[str, str]) -> Path:
    return Path(environ["RAGMESH_RECORDS_URL"].removeprefix("sqlite:"))


def paths(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def change(environ: dict[str, str], statement: str) -> None:
    connection = sqlite3.connect(record(environ))
    with connection:
        connection.execute(statement)
    connection.close()


async def test_a_home_that_is_well_is_left_as_it_was(environ: dict[str, str], tmp_path: Path) -> None:
    before = paths(tmp_path)
    findings = await look(environ)
    assert [(f.check, f.level) for f in findings] == [
        ("model", "ok"),
        ("records", "ok"),
        ("state", "ok"),
        ("blobs", "ok"),
        ("indexes", "ok"),
    ]
    assert paths(tmp_path) == before
    assert (await found(environ, "indexes")).what == "1 collection, each with its index and its chunks"


async def test_what_is_not_named_is_not_looked_at() -> None:
    assert [f.check for f in await look({})] == ["model"]


async def test_a_newer_record_is_named_with_its_versions(environ: dict[str, str]) -> None:
    change(environ, "UPDATE schema_versions SET version = 9 WHERE component = 'graph'")
    finding = await found(environ, "records")
    assert (finding.level, "graph has schema version 9" in finding.what) == ("error", True)


async def test_a_record_that_is_no_database_is_an_error(environ: dict[str, str]) -> None:
    record(environ).write_bytes(b"not a database" * 100)
    assert (await found(environ, "records")).level == "error"


async def test_newer_redis_and_blobs_are_named(environ: dict[str, str], tmp_path: Path) -> None:
    client = connect(environ["RAGMESH_STATE_URL"])
    await client.set(redis_layout.KEY, "9")
    (tmp_path / "blobs" / blobs_layout.KEY).write_text("9\n")
    for name in ("state", "blobs"):
        finding = await found(environ, name)
        assert (finding.level, "layout 9, written by a newer ragmesh" in finding.what) == ("error", True)
    await client.delete(redis_layout.KEY)
    await client.aclose()


async def test_a_collection_without_its_index_is_named(environ: dict[str, str]) -> None:
    change(environ, f"UPDATE collections SET index_name = 'elsewhere' WHERE index_name = '{INDEX}'")
    finding = await found(environ, "indexes")
    assert (finding.level, finding.what) == ("error", "no index in the vector store for facts of default")


async def test_a_collection_that_lost_chunks_is_named_with_the_numbers(environ: dict[str, str]) -> None:
    change(environ, "UPDATE versions SET chunk_count = 100 WHERE document_id = 'keeper.md'")
    finding = await found(environ, "indexes")
    assert (finding.level, finding.what) == (
        "error",
        "chunks are missing in the vector store: facts of default (4 of 102)",
    )


async def test_stores_that_do_not_answer_are_named(environ: dict[str, str], tmp_path: Path) -> None:
    nobody = tmp_path / "nobody.sock"
    down = {**environ, "RAGMESH_STATE_URL": f"unix://{nobody}", "RAGMESH_VECTORS_URL": f"unix:{nobody}"}
    assert (await found(down, "state")).what == "the state store does not answer"
    assert (await found(down, "indexes")).what == "the vectors store does not answer"


async def test_weights_that_are_not_the_official_ones_and_a_damaged_graph_are_found(
    environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / cache.GRAPH_NAME).write_bytes(b"half")
    damaged = await found(environ, "model")
    assert (damaged.level, "is damaged" in damaged.what) == ("warning", True)
    (tmp_path / "model.safetensors").write_bytes(b"other")
    monkeypatch.setattr(weights, "installed", lambda: weights.ModelFiles(tmp_path / "model.safetensors", tmp_path))
    wrong = await found(environ, "model")
    assert (wrong.level, "not 53aa51172d14… of the official release" in wrong.what) == ("error", True)


def test_the_module_prints_json_and_nothing_else(environ: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ragmesh_ingestor.check"], env=environ, capture_output=True, timeout=60, check=True
    )
    assert {each["level"] for each in json.loads(done.stdout)} == {"ok"}
    assert done.stderr == b""


async def test_a_record_too_large_to_be_counted_in_time_says_so(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_inspection, "_STEPS", 1)
    monkeypatch.setattr(check, "COUNT_SECONDS", 1e-9)
    finding = await found(environ, "indexes")
    assert (finding.level, finding.what) == (
        "ok",
        "1 collection, each with its index; counting the chunks takes too long",
    )


async def test_a_look_that_has_no_time_left_tells_how_many_collections_it_saw(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "SPARE_SECONDS", check.LOOK_SECONDS)
    finding = await found(environ, "indexes")
    assert finding.level == "warning"
    assert finding.what == "1 collection, each with its index; there was time to look at 0 of them"
