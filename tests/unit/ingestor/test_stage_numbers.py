"""What the stages of ingestion leave in the numbers."""

from __future__ import annotations

import asyncio

from ragmesh_ingestor.adapters.stage_meter import stage_clock
from ragmesh_ingestor.domain.submit import DocumentInput
from ragmesh_servicekit.identity import Identity
from support.moved import Moved
from support.small_ingest import SmallMesh

ACME = Identity("acme", "key-1", ("staff",))
STAGES = ("parsing", "embedding", "writing")


async def test_a_document_passes_each_stage_once_and_leaves_none_busy(mesh: SmallMesh) -> None:
    await mesh.collections.create("acme", "docs")
    mesh.clock = stage_clock
    moved = Moved()
    async with mesh.working():
        await mesh.queue.ended(await mesh.submit(ACME, "docs", [DocumentInput(b"some text", document_id="a")]))
    for stage in STAGES:
        assert moved.by("ragmesh_ingestion_stage_seconds_count", stage=stage) == 1
        assert moved.by("ragmesh_ingestion_stage_busy", stage=stage) == 0


async def test_a_stage_that_waits_for_its_store_is_busy(mesh: SmallMesh) -> None:
    await mesh.collections.create("acme", "docs")
    mesh.clock = stage_clock
    mesh.vectors.faults.hang.add("insert")
    moved = Moved()
    working = mesh.worker()
    task = asyncio.create_task(working.run(), name="test.worker")
    await mesh.submit(ACME, "docs", [DocumentInput(b"some text", document_id="a")])
    async with asyncio.timeout(10):
        await mesh.vectors.faults.hung.wait()
    assert moved.by("ragmesh_ingestion_stage_busy", stage="writing") == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert moved.by("ragmesh_ingestion_stage_busy", stage="writing") == 0
