"""The int8 graph on disk: built once on a machine, checked each time it is read.

Building takes seconds and hundreds of megabytes, so it happens in a child process (`python -m
ragmesh_backends.embeddings.cache DIR`, which an image build may call as well) and the process that serves imports
neither onnx nor safetensors. The name holds what the graph was made from; beside it lies the SHA-256 of its bytes.
Both are written under other names, synced and renamed, so a crash leaves nothing half-written under the real
names; a file lock lets one of several starting processes build while the others wait. A graph whose bytes do not
match is built again.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from ragmesh_backends.embeddings import weights
from ragmesh_servicekit import deadline
from ragmesh_servicekit.errors import MeshError

log = structlog.get_logger()

MODULE = "ragmesh_backends.embeddings.cache"
GRAPH_NAME = f"{weights.MODEL_NAME}-{weights.WEIGHTS_SHA256[:12]}-int8-v{weights.GRAPH_VERSION}.onnx"

_BUILDING = f".building-{GRAPH_NAME}-"

BUILD_CAP_SECONDS = 120.0
"""A build takes about 3 s on 2 cores; waiting for another process's build is included."""

REFUSED = 3
"""Exit code of the child when the last line it wrote is a sentence for the user."""


async def graph(cache_dir: Path) -> Path:
    """The checked int8 graph, 23 MB, in the cache, which is filled first if need be.

    FailedPrecondition when the weights are missing or wrong, or the folder cannot be written.
    """
    path = cache_dir / GRAPH_NAME
    if not await asyncio.to_thread(is_good, path):
        log.info("embeddings.graph_building", graph=GRAPH_NAME)
        await _build_in_child(cache_dir)
        if not await asyncio.to_thread(is_good, path):
            raise weights.unusable(f"the folder {cache_dir} does not keep what is written to it; check its file system")
    return path


def is_good(path: Path) -> bool:
    """Whether the graph is there and its bytes are those that were written; 20 ms."""
    try:
        expected = _digest_path(path).read_text("ascii")
        return _sha256(path) == expected
    except (OSError, UnicodeDecodeError):
        # Missing, unreadable or garbled: whoever builds next says in a sentence what the matter is.
        return False


def fill(cache_dir: Path) -> None:
    """Build the graph into `cache_dir` unless a good one is there; waits for another process that is building."""
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        with _locked(cache_dir / f"{GRAPH_NAME}.lock"):
            if not is_good(cache_dir / GRAPH_NAME):
                _build(cache_dir)
    except OSError as error:
        raise weights.unusable(
            f"the embedding model's graph cannot be written to {cache_dir}: {error.strerror or 'input/output error'}"
        ) from error


def _build(cache_dir: Path) -> None:
    # Imported here: onnx and the quantiser take 100 MB that a process with a filled cache never needs.
    from ragmesh_backends.embeddings import graph as builder

    tensors = weights.load(weights.installed().weights)
    # Under the lock nobody else builds: what lies there was left by a process that was killed.
    for abandoned in cache_dir.glob(f"{_BUILDING}*"):
        shutil.rmtree(abandoned)
    with tempfile.TemporaryDirectory(prefix=_BUILDING, dir=cache_dir) as folder:
        made = Path(folder) / GRAPH_NAME
        builder.quantise(builder.build(tensors), made)
        digest = _digest_path(made)
        digest.write_text(_sha256(made), "ascii")
        for path in (made, digest):
            _sync(path)
            path.replace(cache_dir / path.name)
        _sync(cache_dir)


async def _build_in_child(cache_dir: Path) -> None:
    async with deadline.dependency("embeddings", BUILD_CAP_SECONDS):
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            MODULE,
            str(cache_dir),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            _, stderr = await child.communicate()
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
    if child.returncode == REFUSED:
        raise weights.unusable(stderr.decode("utf-8", "replace").strip().rpartition("\n")[2])
    if child.returncode != 0:
        log.error("embeddings.build_failed", exit_code=child.returncode, stderr=stderr.decode("utf-8", "replace"))
        raise weights.unusable("building the embedding model's graph failed; the log has the reason")


def main() -> int:
    if len(sys.argv) != 2:
        sys.stderr.write(f"usage: python -m {MODULE} CACHE_DIR\n")
        return 2
    try:
        fill(Path(sys.argv[1]))
    except MeshError as error:
        sys.stderr.write(f"{error.message}\n")
        return REFUSED
    return 0


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _digest_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    raise SystemExit(main())
