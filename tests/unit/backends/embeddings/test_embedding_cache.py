from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from shutil import copytree

import pytest

from ragmesh_backends.embeddings import cache
from ragmesh_servicekit.errors import FailedPrecondition, Reason


def _left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


FILES = {cache.GRAPH_NAME, f"{cache.GRAPH_NAME}.sha256", f"{cache.GRAPH_NAME}.lock"}


def test_two_processes_that_start_at_once_leave_one_good_graph(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "yet" / "there"
    command = [sys.executable, "-m", cache.MODULE, str(folder)]
    children = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(2)]
    for child in children:
        _, stderr = child.communicate(timeout=60)
        assert child.returncode == 0, stderr
    assert cache.is_good(folder / cache.GRAPH_NAME)
    assert _left(folder) == FILES


async def test_a_damaged_graph_is_built_again_and_a_killed_builders_files_go(
    tmp_path: Path, embedding_cache: Path
) -> None:
    folder = tmp_path / "copy"
    copytree(embedding_cache, folder)
    (folder / f".building-{cache.GRAPH_NAME}-killed").mkdir()
    path = folder / cache.GRAPH_NAME
    with path.open("r+b") as file:
        file.seek(1_000_000)
        file.write(b"damage")
    assert not cache.is_good(path)
    assert await cache.graph(folder) == path
    assert cache.is_good(path)
    assert _left(folder) == FILES


def test_a_graph_without_its_digest_is_not_used(tmp_path: Path) -> None:
    (tmp_path / cache.GRAPH_NAME).write_bytes(b"anything")
    assert not cache.is_good(tmp_path / cache.GRAPH_NAME)


async def test_a_good_graph_is_not_built_again(embedding_cache: Path) -> None:
    before = (embedding_cache / cache.GRAPH_NAME).stat().st_mtime_ns
    path = await cache.graph(embedding_cache)
    assert path.stat().st_mtime_ns == before


async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(FailedPrecondition, match=r"cannot be written to .*/file/cache: Not a directory") as refused:
        await cache.graph(tmp_path / "file" / "cache")
    assert refused.value.reason is Reason.MODEL_UNAVAILABLE


def test_serving_imports_nothing_that_only_building_needs(embedding_cache: Path) -> None:
    script = (
        "import asyncio, sys; from pathlib import Path; from ragmesh_backends.embeddings.onnx import OnnxEmbedder\n"
        "async def main():\n"
        "    embedder = await OnnxEmbedder.open(Path(sys.argv[1]), threads=1)\n"
        "    await embedder.warm(); await embedder.close()\n"
        "asyncio.run(main())\n"
        "print(sorted({'onnx', 'safetensors', 'torch', 'sentence_transformers'} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(embedding_cache)], capture_output=True, text=True, timeout=60, check=True
    )
    assert run.stdout.splitlines()[-1] == "[]"
