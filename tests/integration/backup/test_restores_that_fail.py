"""Restores that are cut off, overtaken or held up by a store: the mesh is as it was, or as it was backed up."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ragmesh_backends.blobs.object_store import ObjectBlobs
from ragmesh_backends.graphs.sqlite import SqliteGraph
from ragmesh_backends.model.key import KeyRecord
from ragmesh_backends.records.keys import SqliteKeys
from ragmesh_backends.records.sqlite.copies import SqliteCopies
from ragmesh_backends.vectors import MilvusVectors
from ragmesh_ingestor.backup import copying, restoring, stores, tasks
from ragmesh_ingestor.backup.archive import ArchiveReader
from ragmesh_ingestor.backup.restoring import Restore, Restored
from ragmesh_ingestor.domain import patience
from ragmesh_servicekit.errors import Aborted, MeshError, NotFound, Unavailable
from support.backed_up import back_up, filled, restore, silent
from support.stored_mesh import StoredMesh, key


async def test_a_restore_that_is_cut_off_shows_nothing_and_can_be_repeated(
    mesh: StoredMesh, other: StoredMesh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await (await filled(mesh)).seen()
    monkeypatch.setattr(copying, "GROUP_DOCUMENTS", 2)
    await back_up(mesh, tmp_path / "b.tar")
    parts = 0

    def dies(stage: str, done: int, total: int) -> None:
        nonlocal parts
        parts += stage == "restoring"
        if parts == 4:
            raise SystemError

    async def cannot(self: object) -> None:
        """As after kill -9: nothing is taken back."""

    with monkeypatch.context() as patch:
        patch.setattr(restoring.Restore, "_abandon", cannot)
        with pytest.raises(SystemError):
            await tasks.restore(other.environ, tmp_path / "b.tar", dies)
    nothing = await other.seen()
    assert [name for name in nothing if name != "keys"] == []
    copies, records = other.stores.record.copies, other.stores.record.records
    left = await copies.staged(other.tenant)
    assert len(left) == 2
    for index in left:
        with pytest.raises(NotFound):
            await records.hidden_versions(index)
    due = [one for one in await records.list_dropped_indexes() if one.index in left]
    assert all(one.dropped_at > datetime.now(UTC) for one in due)  # no sweeper takes them from under a restore
    await restore(other, tmp_path / "b.tar")
    assert await other.seen() == before
    assert await copies.staged(other.tenant) == []
    assert [await other.stores.vectors.has_index(index) for index in left] == [False, False]
    assert [key for index in left async for key in other.stores.blobs.list_prefix(index.name)] == []


async def test_a_restore_that_fails_leaves_the_mesh_as_it_was_and_its_rest_to_the_sweeper(
    mesh: StoredMesh, other: StoredMesh, tmp_path: Path
) -> None:
    await filled(mesh)
    await back_up(mesh, tmp_path / "b.tar")

    def dies(stage: str, done: int, total: int) -> None:
        if stage == "restoring":
            raise Unavailable.dependency("vectors")

    with pytest.raises(Unavailable):
        await tasks.restore(other.environ, tmp_path / "b.tar", dies)
    assert await other.stores.record.copies.collections(other.tenant) == []
    assert await other.stores.record.copies.staged(other.tenant) == []


@pytest.mark.parametrize("ending", ["refused", "lost reply", "down", "signal"])
async def test_the_last_step_of_a_restore_takes_effect_as_a_whole_and_is_reported_as_it_was(
    mesh: StoredMesh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    before = await (await filled(mesh)).seen()
    await back_up(mesh, tmp_path / "b.tar")
    await mesh.put("docs", "Tea", "Black tea")
    changed = await mesh.seen()
    only_here = f"k3-{mesh.tenant}"
    with ArchiveReader.open(tmp_path / "b.tar") as reader:
        whole = Restored(tuple(await mesh.stores.record.copies.collections(mesh.tenant)), 3, 0)
        unpublished = SqliteCopies.publish
        calls, reached, go_on = 0, asyncio.Event(), asyncio.Event()

        async def publish(self: SqliteCopies, *arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if ending == "refused":
                raise Aborted("overtaken")
            if ending == "down":
                raise Unavailable.dependency("records")
            done = await unpublished(self, *arguments, **options)
            if ending == "lost reply" and calls == 1:
                raise Unavailable.dependency("records")
            reached.set()
            if ending == "signal":
                await go_on.wait()
            return done

        async def keys(self: Restore) -> list[KeyRecord]:
            return [*await read_keys(self), key(mesh.tenant, only_here)]

        read_keys = Restore._keys
        monkeypatch.setattr(Restore, "_keys", keys)
        monkeypatch.setattr(SqliteCopies, "publish", publish)
        monkeypatch.setattr(restoring, "PUBLISH_SECONDS", 1.0)
        task = asyncio.create_task(Restore(mesh.stores, reader, silent).run(replace=True))
        if ending == "signal":
            await reached.wait()
            task.cancel()
            go_on.set()
        if ending in {"refused", "down"}:
            with pytest.raises(Aborted if ending == "refused" else Unavailable) as failed:
                await task
            assert ending == "refused" or "look whether the collections" in failed.value.message
            assert await mesh.seen() == changed  # without the new key
            return
        assert await task == whole
    assert calls == (2 if ending == "lost reply" else 1)
    seen = await mesh.seen()
    assert [one.key_id for one in seen.pop("keys")] == [f"k{n}-{mesh.tenant}" for n in (1, 2, 3)]
    del before["keys"]
    assert seen == before


async def test_of_two_restores_the_one_that_began_first_gives_way(
    mesh: StoredMesh, other: StoredMesh, tmp_path: Path
) -> None:
    await filled(mesh)
    await back_up(mesh, tmp_path / "b.tar")
    reached, go_on = asyncio.Event(), asyncio.Event()

    class Slow(MilvusVectors):
        async def count_versions(self, index: Any, versions: Any) -> Any:
            reached.set()
            await go_on.wait()
            return await super().count_versions(index, versions)

    slow = Slow(other.environ["RAGMESH_VECTORS_URL"])
    with ArchiveReader.open(tmp_path / "b.tar") as reader:
        stores = replace(other.stores, vectors=slow)
        first = asyncio.create_task(restoring.Restore(stores, reader, silent).run(replace=False))
        await reached.wait()
        await restore(other, tmp_path / "b.tar")
        seen = await other.seen()
        go_on.set()
        with pytest.raises(MeshError) as refused:
            await first
    await slow.close()
    assert isinstance(refused.value, Aborted | NotFound), refused.value
    assert await other.seen() == seen


STEPS: list[tuple[type, str]] = [
    (SqliteCopies, "collections"),
    (SqliteCopies, "marks"),
    (SqliteCopies, "copies"),
    (SqliteCopies, "stage"),
    (SqliteCopies, "add"),
    (SqliteKeys, "copies"),
    (SqliteGraph, "chunks"),
    (SqliteGraph, "write"),
    (MilvusVectors, "stored_rows"),
    (MilvusVectors, "create_index"),
    (MilvusVectors, "insert"),
    (MilvusVectors, "count_versions"),
    (ObjectBlobs, "get_many"),
    (ObjectBlobs, "put_many"),
]


async def test_a_store_that_is_down_for_a_moment_ends_neither_a_backup_nor_a_restore(
    mesh: StoredMesh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await (await filled(mesh)).seen()
    failed = set[tuple[type, str]]()

    def hiccup(step: tuple[type, str]) -> None:
        real = getattr(*step)

        async def once(self: Any, *arguments: Any, **options: Any) -> Any:
            if step in failed:
                return await real(self, *arguments, **options)
            failed.add(step)
            raise Unavailable.dependency("store")

        monkeypatch.setattr(*step, once)

    monkeypatch.setattr(patience, "_FIRST_PAUSE_SECONDS", 0.0)
    for step in STEPS:
        hiccup(step)
    await tasks.back_up(mesh.environ, tmp_path / "b.tar", silent, tenant=mesh.tenant)
    await restore(mesh, tmp_path / "b.tar", replace=True)
    assert failed == set(STEPS)
    assert await mesh.seen() == before
    monkeypatch.setattr(stores, "PATIENCE_SECONDS", -1.0)
    failed.clear()
    with pytest.raises(Unavailable):
        await tasks.back_up(mesh.environ, tmp_path / "c.tar", silent, tenant=mesh.tenant)
