"""Backups of real stores: record and graph on SQLite or Neo4j, the embedded Milvus, a folder of blobs."""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
import stat
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ragmesh_backends.model.document import ChunkRow
from ragmesh_backends.records.sqlite.copies import SqliteCopies
from ragmesh_backends.vectors import MilvusVectors
from ragmesh_ingestor.backup import copying, tasks
from ragmesh_ingestor.backup.archive import HEADER, ArchiveReader, ArchiveWriter, Manifest
from ragmesh_ingestor.backup.checking import check
from ragmesh_servicekit.errors import FailedPrecondition, MeshError
from support.backed_up import back_up, files_in, filled, restore, silent
from support.stored_mesh import StoredMesh, key


async def test_what_is_restored_is_what_was_backed_up(mesh: StoredMesh, other: StoredMesh, tmp_path: Path) -> None:
    before = await (await filled(mesh)).seen()
    made = await back_up(mesh, tmp_path / "b.tar")
    assert [(one["collection_id"], one["documents"], one["chunks"]) for one in made["collections"]] == [
        ("docs", 5, 6),
        ("empty", 0, 0),
    ]
    assert made["keys"] == 2
    assert stat.S_IMODE((tmp_path / "b.tar").stat().st_mode) == 0o600
    await restore(other, tmp_path / "b.tar")
    assert await other.seen() == before

    # And from there back again.
    await tasks.back_up(other.environ, tmp_path / "c.tar", silent, tenant=mesh.tenant)
    await restore(mesh, tmp_path / "c.tar", replace=True)
    assert await mesh.seen() == before


async def test_the_record_goes_on_where_it_was(mesh: StoredMesh, other: StoredMesh, tmp_path: Path) -> None:
    await filled(mesh)
    await back_up(mesh, tmp_path / "b.tar")
    await restore(other, tmp_path / "b.tar")
    records = other.stores.record.records
    waiting = [one for one in await records.pending_versions(-60, 1000) if one.tenant == other.tenant]
    assert [one.document_id for one in waiting] == ["Waits"]
    assert await other.stores.blobs.get(waiting[0].blob_key) == b"A harbour that waits"
    assert waiting[0].groups == ("staff",)
    other.indexes["docs"] = waiting[0].index
    assert await other.put("docs", "Gone", "It is back") == 2  # version numbers never start again
    assert await other.put("docs", "Light", "A third text") == 3
    assert await other.put("docs", "Waits", "A newer one") == 2
    seen = (await other.seen())["docs"]
    assert seen["Light"].active_version == 3
    assert seen["counts"] == (5, 0)


async def test_other_tenants_are_neither_read_nor_touched(mesh: StoredMesh, other: StoredMesh, tmp_path: Path) -> None:
    await filled(mesh)
    stranger = f"stranger-{secrets.token_hex(4)}"
    await mesh.create("theirs", stranger)
    await mesh.put("theirs", "Private", "the harbour of others")
    await tasks.back_up(mesh.environ, tmp_path / "b.tar", silent, tenant=mesh.tenant)
    with ArchiveReader.open(tmp_path / "b.tar") as reader:
        facts = [entry for part in reader.manifest.parts for entry in reader.read(part)]
    assert not any("Private" in json.dumps(entry.facts) for entry in facts)
    theirs = await mesh.seen(stranger)
    await restore(mesh, tmp_path / "b.tar", replace=True)
    assert await mesh.seen(stranger) == theirs


async def test_a_mesh_with_collections_is_left_alone_unless_they_are_to_be_replaced(
    mesh: StoredMesh, other: StoredMesh, tmp_path: Path
) -> None:
    before = await (await filled(mesh)).seen()
    await back_up(mesh, tmp_path / "b.tar")
    await other.create("docs")
    await other.put("docs", "Mine", "was here first")
    await other.create("more")
    was = await other.seen()
    with pytest.raises(FailedPrecondition, match="the mesh has collections already"):
        await restore(other, tmp_path / "b.tar")
    assert await other.seen() == was
    done = await restore(other, tmp_path / "b.tar", replace=True)
    assert [one["collection_id"] for one in done["replaced"]] == ["docs", "more"]
    assert await other.seen() == before
    gone = [one for one in await other.stores.record.records.list_dropped_indexes() if one.index.tenant == other.tenant]
    assert {one.collection_id for one in gone} >= {"docs", "more"}  # left to the sweeper


async def test_a_key_that_was_revoked_since_stays_revoked(mesh: StoredMesh, other: StoredMesh, tmp_path: Path) -> None:
    await filled(mesh)
    await back_up(mesh, tmp_path / "b.tar")
    keys = other.stores.record.keys
    await keys.put(key(mesh.tenant, f"k1-{mesh.tenant}"))
    await keys.revoke(mesh.tenant, f"k1-{mesh.tenant}")
    done = await restore(other, tmp_path / "b.tar")
    assert (done["new_keys"], done["kept_keys"]) == (1, 1)
    assert (await keys.get(f"k1-{mesh.tenant}")).revoked_at is not None


class Meddled(MilvusVectors):
    """Changes documents between a listing and its reading: one that was read, one that was not, and a new one."""

    def __init__(self, address: str, mesh: StoredMesh) -> None:
        super().__init__(address)
        self._mesh, self.seen = mesh, list[dict[str, Any]]()

    async def stored_rows(self, index: Any, chunk_ids: Any) -> list[ChunkRow]:
        number = len(self.seen) + 1
        if number < 3:
            await self._mesh.put("docs", "Light", f"Light number {number}\nof the harbour")
            await self._mesh.put("docs", f"New {number}", "came meanwhile")
            if number == 1:
                await self._mesh.delete("docs", "Tea")
            self.seen.append(await self._mesh.seen())
        return await super().stored_rows(index, chunk_ids)


async def test_documents_that_change_meanwhile_are_in_the_backup_as_one_version_or_not_at_all(
    mesh: StoredMesh, other: StoredMesh, tmp_path: Path, milvus: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(mesh)
    monkeypatch.setattr(copying, "GROUP_DOCUMENTS", 2)  # Tea comes in a later group than what changes it
    vectors = Meddled(milvus, mesh)
    with (tmp_path / "b.tar").open("wb") as file:
        writer = ArchiveWriter(file, Manifest("", "now"), "1")
        await copying.Backup(replace(mesh.stores, vectors=vectors), writer, silent).run()
        writer.finish()
    await vectors.close()
    with ArchiveReader.open(tmp_path / "b.tar") as reader:
        await check(reader, silent)
        assert [one for ids in reader.manifest.superseded.values() for one in ids] == ["Light"]
        assert all(facts["settled"] for facts in reader.manifest.live())
    await restore(other, tmp_path / "b.tar")
    seen, at_the_second_listing = await other.seen(), vectors.seen[0]
    for facts in (seen["docs"], at_the_second_listing["docs"]):
        del facts["links"]
        for name in [name for name in facts if name.startswith(("harbour", "tea "))]:
            # Word scores count passages that are still to be swept.
            facts[name] = sorted(chunk.chunk_id for chunk, _ in facts[name])
    assert seen == at_the_second_listing


async def test_documents_that_never_hold_still_are_named_when_they_are_not_in_the_backup(
    mesh: StoredMesh, other: StoredMesh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(mesh)
    listings, pauses, marks_of = 0, list[float](), SqliteCopies.marks

    async def marks(self: SqliteCopies, index: Any) -> Any:
        """New is never read whole; Tea is, once."""
        nonlocal listings
        marks = await marks_of(self, index)
        if index == mesh.indexes["docs"]:
            listings += 1
            await mesh.put("docs", "New", f"New number {listings}")
            if listings != 2:
                await mesh.put("docs", "Tea", f"Tea number {listings}")
        return marks

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(SqliteCopies, "marks", marks)
    with (tmp_path / "b.tar").open("wb") as file:
        writer = ArchiveWriter(file, Manifest("", "now"), "1")
        await copying.Backup(mesh.stores, writer, silent, pause).run()
        writer.finish()
    monkeypatch.undo()
    assert listings == len(pauses) + 1 == copying.MAX_LISTINGS
    assert pauses[:4] == [0.1, 0.2, 0.4, 0.8]
    assert max(pauses) == copying.LONGEST_PAUSE_SECONDS
    found = await tasks.verify(tmp_path / "b.tar", silent)
    assert [(one["settled"], one["left_out"]) for one in found["collections"]] == [(False, ["New"]), (True, [])]
    assert tasks.left_out(found) == 1
    await restore(other, tmp_path / "b.tar")
    seen = (await other.seen())["docs"]
    assert "New" not in seen
    assert [chunk.start for chunk in seen["chunks Tea"]] == [0]


async def test_nothing_is_backed_up_over_the_last_good_backup_unless_that_is_meant(
    mesh: StoredMesh, other: StoredMesh, tmp_path: Path
) -> None:
    await filled(mesh)
    file = tmp_path / "b.tar"
    await back_up(mesh, file)
    good = file.read_bytes()
    await other.stores.record.keys.put(key(other.tenant, f"k9-{other.tenant}"))  # as a mesh that starts anew has one
    cases = [(other.environ, other.tenant), (mesh.environ, f"{mesh.tenant}x")]
    for environ, tenant in cases:
        with pytest.raises(FailedPrecondition, match=r"has no collection and (1 key|no keys): .*--allow-empty"):
            await tasks.back_up(environ, file, silent, tenant=tenant, overwrite=True)
    assert file.read_bytes() == good
    assert files_in(tmp_path) == ["b.tar"]
    done = await tasks.back_up(other.environ, file, silent, tenant=other.tenant, overwrite=True, allow_empty=True)
    assert (done["collections"], done["keys"]) == ([], 1)
    assert (await restore(mesh, file))["new_keys"] == 1


async def test_a_backup_of_damaged_stores_is_refused_and_leaves_no_file(mesh: StoredMesh, tmp_path: Path) -> None:
    await filled(mesh)
    index = mesh.indexes["docs"]
    (light,) = [one for one in await mesh.stores.record.copies.copies(index, ["Light"]) if one.active]
    assert light.active is not None
    parsed = light.active.parsed_key
    kept = await mesh.stores.blobs.get(parsed)
    await mesh.stores.blobs.delete_many([parsed])
    with pytest.raises(FailedPrecondition, match="do not hold all of 1 document of the collection `docs`"):
        await back_up(mesh, tmp_path / "b.tar")
    await mesh.stores.blobs.put(parsed, kept)
    await mesh.stores.vectors.drop_index(index)
    with pytest.raises(MeshError):
        await back_up(mesh, tmp_path / "b.tar")
    assert files_in(tmp_path) == []


async def test_an_interrupted_backup_leaves_no_file(mesh: StoredMesh, tmp_path: Path) -> None:
    await filled(mesh)

    def interrupt(stage: str, done: int, total: int) -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await tasks.back_up(mesh.environ, tmp_path / "b.tar", interrupt)
    assert files_in(tmp_path) == []


async def test_a_damaged_file_is_refused_before_anything_is_restored(
    mesh: StoredMesh, tmp_path: Path, milvus: str
) -> None:
    await filled(mesh)
    await back_up(mesh, tmp_path / "b.tar")
    whole = (tmp_path / "b.tar").read_bytes()
    with tarfile.open(tmp_path / "b.tar") as tar:
        spots = [member.offset_data + member.size // 2 for member in tar if member.name != HEADER]
    bad = tmp_path / "bad.tar"
    empty = {**mesh.environ, "RAGMESH_RECORDS_URL": f"sqlite:{tmp_path / 'none.db'}"}
    for spot in spots:
        bad.write_bytes(whole[:spot] + bytes([whole[spot] ^ 1]) + whole[spot + 1 :])
        with pytest.raises(FailedPrecondition, match="damaged"):
            await tasks.restore(empty, bad, silent)
        bad.write_bytes(whole[:spot])
        with pytest.raises(FailedPrecondition, match=r"cut off or damaged|not a backup"):
            await tasks.verify(bad, silent)
    assert not (tmp_path / "none.db").exists()
    shutil.copy(tmp_path / "b.tar", bad)
    assert (await tasks.verify(bad, silent))["keys"] == 2
