"""A mesh with documents in every state, and its backup, by the calls that the command line makes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ragmesh_ingestor.backup import tasks
from support.stored_mesh import StoredMesh, key

LIGHT = "Fastnet light\nThe harbour light was lit in 1854.\nTea is for keepers of the light."


def silent(stage: str, done: int, total: int) -> None:
    """Nobody looks."""


def files_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.is_file()]


async def filled(mesh: StoredMesh) -> StoredMesh:
    """Documents in every state, also of another tenant with the same ids."""
    await mesh.create("docs")
    await mesh.put("docs", "Tea", "Green tea\nis brewed at 80 degrees")
    await mesh.put("docs", "Light", "an older text")
    await mesh.put("docs", "Light", LIGHT)
    await mesh.put("docs", "Secret", "The harbour is for staff only", access=["staff"])
    await mesh.put("docs", "Gone", "This is deleted")
    await mesh.delete("docs", "Gone")
    await mesh.put("docs", "Waits", "A harbour that waits", state="PENDING")
    await mesh.put("docs", "Bad", "nothing", state="FAILED")
    await mesh.put("docs", "Tea", "Tea that was no tea", state="FAILED")
    await mesh.create("empty")
    records = mesh.stores.record
    for index in mesh.indexes.values():  # what the sweeper would have done by now
        retired = [one for one in await records.records.retired_versions(0, 100) if one.index == index]
        await mesh.stores.vectors.delete_versions(index, [one.version for one in retired])
        await records.graph.delete_versions(index, [one.version for one in retired])
        await records.records.forget_versions(index, [one.version for one in retired])
    await records.keys.put(key(mesh.tenant, f"k1-{mesh.tenant}"))
    await records.keys.put(replace(key(mesh.tenant, f"k2-{mesh.tenant}"), revoked_at=datetime(2031, 1, 1, tzinfo=UTC)))
    return mesh


async def back_up(mesh: StoredMesh, file: Path) -> Any:
    return await tasks.back_up(mesh.environ, file, silent)


async def restore(mesh: StoredMesh, file: Path, **options: bool) -> Any:
    return await tasks.restore(mesh.environ, file, silent, **options)
