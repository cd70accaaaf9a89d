"""`ragmesh backup` and `ragmesh restore` where the environment names all stores and there is no home."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.stored_mesh import StoredMesh, key, stored_mesh


@pytest.fixture
async def mesh(tmp_path: Path, milvus: str) -> AsyncIterator[StoredMesh]:
    async with stored_mesh(tmp_path / "stores", milvus, f"acme-{secrets.token_hex(4)}", {}) as made:
        yield made


async def started(mesh: StoredMesh, *arguments: str, module: str = "ragmesh_cli") -> asyncio.subprocess.Process:
    """The command line without a home that it could use, and with the mesh's secrets in files as in a Pod."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RAGMESH_")}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        *arguments,
        env={**clean, **mesh.environ, "RAGMESH_HOME": "/proc/no/home", "HOME": "/proc/no/home"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


async def run(mesh: StoredMesh, *arguments: str) -> tuple[int | None, str, str]:
    process = await started(mesh, *arguments)
    out, err = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, out.decode(), err.decode()


async def test_the_environment_is_enough_to_back_up_and_to_restore(mesh: StoredMesh, tmp_path: Path) -> None:
    await mesh.create("docs")
    await mesh.put("docs", "Light", "The harbour light\nwas lit in 1854")
    await mesh.stores.record.keys.put(key(mesh.tenant, f"k1-{mesh.tenant}"))
    before = await mesh.seen()
    file = tmp_path / "b.tar"
    code, out, err = await run(mesh, "backup", str(file))
    assert code == 0, err
    assert out.startswith(f"{file}: 1 collection, 1 document, 2 chunks, 1 key; ")
    assert "backing up" in err
    code, out, err = await run(mesh, "backup", "--verify", "--json", str(file))
    assert (code, json.loads(out)["bytes"]) == (0, file.stat().st_size)
    await mesh.put("docs", "Light", "Something else")
    code, out, err = await run(mesh, "restore", str(file), "--replace")
    assert code == 0, err
    assert out.splitlines() == ["restored 1 collection, 1 document, 2 chunks, 1 key", f"replaced docs of {mesh.tenant}"]
    assert await mesh.seen() == before


async def test_whatever_is_refused_is_one_line_with_its_cause(mesh: StoredMesh, tmp_path: Path) -> None:
    await mesh.create("docs")
    await mesh.put("docs", "Light", "The harbour light")
    file, bad = tmp_path / "b.tar", tmp_path / "bad.tar"
    assert (await run(mesh, "backup", str(file)))[0] == 0
    data = file.read_bytes()
    bad.write_bytes(data[: len(data) // 2])
    cases = [
        (["restore", str(tmp_path / "none.tar")], f"{tmp_path / 'none.tar'}: No such file or directory"),
        (["restore", str(bad)], f"{bad} is cut off or damaged: it has no manifest at its end"),
        (["backup", "--verify", str(mesh.environ["RAGMESH_RECORDS_URL"]).removeprefix("sqlite:")], "is not a backup"),
        (["backup", str(file)], f"{file} exists already: name another file, or use --overwrite"),
        (["backup", "/proc/b.tar"], "No such file or directory"),
        (["restore", str(file)], f"the mesh has collections already (docs of {mesh.tenant})"),
    ]
    for arguments, sentence in cases:
        code, out, err = await run(mesh, *arguments)
        assert (code, out) == (1, ""), (arguments, out, err)
        lines = [line for line in err.splitlines() if line.startswith("ragmesh: ")]
        assert len(lines) == 1, err
        assert sentence in lines[0]
        assert "Traceback" not in err
    assert "has no collection and no keys" in (await run(mesh, "backup", str(file), "--overwrite", "--tenant=x"))[2]
    wrong = StoredMesh(mesh.stores, {**mesh.environ, "RAGMESH_RECORDS_URL": "postgres://x"}, mesh.tenant)
    code, out, err = await run(wrong, "backup", str(file), "--overwrite")
    assert (code, "RAGMESH_RECORDS_URL" in err) == (2, True), err
    down = StoredMesh(mesh.stores, {**mesh.environ, "RAGMESH_VECTORS_URL": "127.0.0.1:1"}, mesh.tenant)
    code, out, err = await run(down, "backup", str(file), "--overwrite")
    assert (code, "the vectors store does not answer" in err) == (1, True), err
    assert file.read_bytes() == data  # what was there stays, until another is whole


@pytest.mark.parametrize("module", ["ragmesh_cli", "ragmesh_ingestor.backup"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_a_signal_ends_a_backup_and_leaves_no_file(
    mesh: StoredMesh, tmp_path: Path, number: signal.Signals, code: int, module: str
) -> None:
    await mesh.create("docs")
    for document in range(40):
        await mesh.put("docs", f"Light {document}", "\n".join(f"Line {n} of {document}" for n in range(40)))
    process = await started(mesh, "backup", str(tmp_path / "b.tar"), module=module)
    async with asyncio.timeout(30):
        while not names_in(tmp_path) - {"stores"}:  # noqa: ASYNC110 - nothing tells when another process makes a file
            await asyncio.sleep(0.002)
    process.send_signal(number)
    _, err = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == code, err.decode()
    assert names_in(tmp_path) == {"stores"}
    assert b"Traceback" not in err
