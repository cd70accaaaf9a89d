"""`python -m ragmesh_ingestor migrate`: every store has its layout afterwards, or a sentence says why not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from ragmesh_backends.blobs import layout as blobs_layout
from ragmesh_backends.redis import layout as redis_layout
from ragmesh_backends.redis.client import connect
from ragmesh_ingestor.migrate import migrate
from ragmesh_ingestor.settings import stores_from
from support.milvus import MilvusProcess
from support.redis import RedisProcess


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Addresses of an empty Redis and an empty Milvus."""
    folder = tmp_path_factory.mktemp("mg")
    redis, milvus = RedisProcess(folder), MilvusProcess(folder)
    redis.start_and_wait()
    milvus.start_and_wait()
    yield redis.address, milvus.address
    redis.kill()
    milvus.kill()


@pytest.fixture
async def environ(servers: tuple[str, str], tmp_path: Path) -> dict[str, str]:
    state = connect(servers[0])
    await state.flushall()
    await state.aclose()
    return {
        "RAGMESH_RECORDS_URL": f"sqlite:{tmp_path / 'records.db'}",
        "RAGMESH_BLOBS_URL": f"file:{tmp_path / 'blobs'}",
        "RAGMESH_STATE_URL": servers[0],
        "RAGMESH_VECTORS_URL": servers[1],
    }


def run(environ: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ragmesh_ingestor", *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)


async def told(environ: Mapping[str, str]) -> list[str]:
    """The time is also that of stores which do answer: with 0.2 s one of them was late on a busy machine."""
    return [str(each) for each in await migrate(stores_from(environ), wait_seconds=3.0)]


def test_empty_stores_get_their_layouts_and_a_second_run_finds_them(environ: dict[str, str], tmp_path: Path) -> None:
    first = run(environ, "migrate")
    assert (first.returncode, first.stderr) == (0, "")
    assert "records: records layout 1 was made, keys layout 1 was made, graph layout 1 was made" in first.stdout
    assert "state: layout 1 was made" in first.stdout
    assert "blobs: layout 1 was made" in first.stdout
    assert (tmp_path / "blobs" / blobs_layout.KEY).read_text() == "1\n"
    second = run(environ, "migrate")
    assert (second.returncode, "made\n" in second.stdout, "state: layout 1 was there" in second.stdout) == (
        0,
        False,
        True,
    )


async def test_a_newer_store_is_named_left_alone_and_of_no_use_to_try_again(
    environ: dict[str, str], tmp_path: Path
) -> None:
    state = connect(environ["RAGMESH_STATE_URL"])
    await state.set(redis_layout.KEY, "9")
    done = run(environ, "migrate")
    assert (done.returncode, "layout 9, written by a newer ragmesh" in done.stderr) == (2, True)
    assert "blobs: layout 1 was made" in done.stdout
    assert await state.get(redis_layout.KEY) == "9"
    await state.aclose()


async def test_a_store_that_does_not_answer_is_awaited_and_named_and_the_others_are_done(
    environ: dict[str, str], tmp_path: Path
) -> None:
    environ["RAGMESH_VECTORS_URL"] = f"unix:{tmp_path / 'none'}"
    records, vectors, state, blobs = await told(environ)
    assert "vectors store" in vectors
    assert (records[:8], state[:6], blobs[:6]) == ("records:", "state:", "blobs:")


async def test_a_record_that_cannot_be_opened_does_not_hide_the_others(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "records.db").write_bytes(b"no database, but long enough to be taken for one" * 100)
    records, vectors, state, _ = await told(environ)
    assert "records" in records
    assert "layout" not in records
    assert (vectors[:8], state[:6]) == ("vectors:", "state:")


def test_a_setting_that_is_missing_is_named_and_another_word_is_refused(environ: dict[str, str]) -> None:
    del environ["RAGMESH_BLOBS_URL"]
    missing = run(environ, "migrate")
    assert (missing.returncode, missing.stderr.startswith("RAGMESH_BLOBS_URL: must be set")) == (2, True)
    other = run(environ, "frobnicate")
    assert (other.returncode, "`migrate` is the only one" in other.stderr) == (2, True)
