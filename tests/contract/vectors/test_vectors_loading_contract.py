"""What several processes promise that load and release indexes of one store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from ragmesh_backends.model.collection import IndexRef, IndexSpec
from ragmesh_backends.model.document import DocumentVersion
from ragmesh_backends.model.search import SearchFilter
from ragmesh_backends.vectors import MilvusVectors
from ragmesh_backends.vectors.loading import Loading
from ragmesh_servicekit.errors import NotFound
from support.chunks import DIMENSION, row, unit

SPEC = IndexSpec("test", DIMENSION)
ALL = SearchFilter()


async def test_more_indexes_than_may_be_loaded_all_answer(address: str, new_ref: Callable[[], IndexRef]) -> None:
    few = MilvusVectors(address, max_loaded=2)
    refs = [new_ref() for _ in range(5)]
    try:
        for ref in refs:
            await few.create_index(ref, SPEC)
            await few.insert(ref, [row(ref.name)])
        for _ in range(2):
            found = await asyncio.gather(*(few.bm25(ref, "words", 5, where=ALL) for ref in refs))
            assert [[hit.chunk.document_id for hit in hits] for hits in found] == [[ref.name] for ref in refs]
    finally:
        await few.close()


async def test_processes_that_release_each_others_indexes_still_find_everything(
    address: str, new_ref: Callable[[], IndexRef]
) -> None:
    processes = [MilvusVectors(address, max_loaded=1) for _ in range(2)]
    refs = [new_ref() for _ in range(3)]
    try:
        for ref in refs:
            await processes[0].create_index(ref, SPEC)
            await processes[0].insert(ref, [row(f"d{i}") for i in range(20)])

        async def ask(process: MilvusVectors, turn: int) -> list[int]:
            ref = refs[turn % 3]
            return [
                len(await process.bm25(ref, "words", 10, where=ALL)),
                len(await process.dense(ref, unit(1), 10, where=ALL)),
            ]

        found = await asyncio.gather(*(ask(process, turn) for turn in range(40) for process in processes))
        assert found == [[10, 10]] * 80
    finally:
        for process in processes:
            await process.close()


async def test_a_guest_releases_only_what_it_has_loaded_itself(address: str, new_ref: Callable[[], IndexRef]) -> None:
    mesh = MilvusVectors(address)
    guest = MilvusVectors(address, max_loaded=1, load_seconds=60.0, guest=True)
    used, unused = new_ref(), new_ref()
    loading = Loading(mesh._connection, guest=False)
    try:
        for ref in (used, unused):
            await mesh.create_index(ref, SPEC)
            await mesh.insert(ref, [row(ref.name)])
        await loading.release(unused.name)
        assert [await loading.is_loaded(ref.name) for ref in (used, unused)] == [True, False]
        for ref in (used, unused, used, unused, used):
            assert await guest.count_version(ref, DocumentVersion(ref.name, 1)) == 1
        assert [await loading.is_loaded(ref.name) for ref in (used, unused)] == [True, False]
        with pytest.raises(NotFound):
            await guest.count_version(new_ref(), DocumentVersion("d", 1))
    finally:
        await guest.close()
        await mesh.close()
