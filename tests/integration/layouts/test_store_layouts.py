"""Layout versions of the stores that are not SQLite: marked, brought forward, and refused when they are newer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest
from redis.asyncio import Redis

from ragmesh_backends.blobs import layout as blobs_layout
from ragmesh_backends.blobs.object_store import ObjectBlobs
from ragmesh_backends.model.collection import IndexRef, IndexSpec
from ragmesh_backends.model.search import SearchFilter
from ragmesh_backends.redis import layout as redis_layout
from ragmesh_backends.redis.client import connect
from ragmesh_backends.vectors import MilvusVectors, schema
from ragmesh_servicekit.errors import FailedPrecondition, Unavailable
from support.milvus import MilvusProcess
from support.redis import RedisProcess

# -- Redis ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def state_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisProcess]:
    process = RedisProcess(tmp_path_factory.mktemp("rl"))
    process.start_and_wait()
    yield process
    process.kill()


@pytest.fixture
async def state(state_process: RedisProcess) -> AsyncIterator[Redis]:
    client = connect(state_process.address)
    await client.flushall()
    yield client
    await client.aclose()


STEP = "redis.call('INCR', 'steps')"


async def test_an_empty_redis_is_marked_with_the_newest_layout(state: Redis) -> None:
    await redis_layout.open_layout(state, steps=[STEP])
    assert await state.get(redis_layout.KEY) == "2"
    assert await state.get("steps") is None


async def test_a_redis_with_data_and_no_mark_is_brought_forward_from_the_first_layout(state: Redis) -> None:
    await state.set("ragmesh:{jobs}:sequence", "7")
    await redis_layout.open_layout(state, steps=[STEP, "redis.call('RENAME', 'ragmesh:{jobs}:sequence', 'moved')"])
    assert (await state.get(redis_layout.KEY), await state.get("moved"), await state.get("steps")) == ("3", "7", "1")


async def test_only_the_missing_steps_are_taken(state: Redis) -> None:
    await state.set(redis_layout.KEY, "2")
    await redis_layout.open_layout(state, steps=["error('taken twice')", STEP])
    assert (await state.get(redis_layout.KEY), await state.get("steps")) == ("3", "1")


async def test_processes_that_open_a_redis_at_once_take_each_step_once(
    state: Redis, state_process: RedisProcess
) -> None:
    await state.set("data", "x")
    clients = [connect(state_process.address) for _ in range(8)]
    await asyncio.gather(*(redis_layout.open_layout(client, steps=[STEP]) for client in clients))
    assert await state.get("steps") == "1"
    for client in clients:
        await client.aclose()


async def test_a_newer_redis_is_refused_in_one_sentence_and_left_alone(state: Redis) -> None:
    await state.set(redis_layout.KEY, "9")
    with pytest.raises(FailedPrecondition, match=r"the Redis for state .* layout 9, written by a newer ragmesh; .*"):
        await redis_layout.open_layout(state)
    with pytest.raises(FailedPrecondition):
        await redis_layout.look_at_state(state, durable=True)
    assert await state.get(redis_layout.KEY) == "9"


async def test_a_redis_that_does_not_answer_is_awaited_and_then_named(tmp_path: Path) -> None:
    client = connect(f"unix://{tmp_path / 'nothing.sock'}")
    with pytest.raises(Unavailable, match="did not answer within"):
        await redis_layout.open_layout(client, wait_seconds=0.1)
    await client.aclose()


# -- blobs ------------------------------------------------------------------------------------------


async def test_a_blob_store_is_marked_and_opens_again(tmp_path: Path) -> None:
    blobs = ObjectBlobs.local(tmp_path)
    await asyncio.gather(*(blobs_layout.open_layout(blobs) for _ in range(4)))
    await blobs_layout.open_layout(blobs)
    assert (tmp_path / blobs_layout.KEY).read_text() == f"{blobs_layout.LAYOUT}\n"


@pytest.mark.parametrize(("mark", "sentence"), [(b"9\n", "layout 9, written by a newer"), (b"\xffx", "is damaged")])
async def test_a_blob_store_of_a_newer_layout_or_a_damaged_mark_is_refused(
    tmp_path: Path, mark: bytes, sentence: str
) -> None:
    blobs = ObjectBlobs.local(tmp_path)
    await blobs.put(blobs_layout.KEY, mark)
    with pytest.raises(FailedPrecondition, match=sentence):
        await blobs_layout.open_layout(blobs)
    assert await blobs.get(blobs_layout.KEY) == mark


async def test_a_blob_store_that_does_not_answer_is_awaited_and_then_named() -> None:
    class Down:
        asked = 0

        async def get(self, key: str) -> bytes:
            self.asked += 1
            raise Unavailable.dependency("blobs")

        async def put(self, key: str, data: bytes) -> None:
            raise AssertionError("a store that cannot be read is not written")

    down = Down()
    with pytest.raises(Unavailable, match="the blobs store did not answer"):
        await blobs_layout.open_layout(down, wait_seconds=0.05)
    assert down.asked == 1


# -- Milvus -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def milvus_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusProcess]:
    process = MilvusProcess(tmp_path_factory.mktemp("ml"))
    process.start_and_wait()
    yield process
    process.kill()


SPEC = IndexSpec("test", 4)
QUERY = np.array([1, 0, 0, 0], dtype=np.float32)


async def _made(address: str, index: IndexRef, description: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index as a program makes it that describes it so."""
    original = schema.collection_schema

    def described(name: str, spec: IndexSpec) -> object:
        made = original(name, spec)
        made.description = description
        return made

    monkeypatch.setattr(schema, "collection_schema", described)
    monkeypatch.setattr(schema, "LAYOUT", 99)  # this program is the newer one
    vectors = MilvusVectors(address)
    await vectors.create_index(index, SPEC)
    await vectors.close()
    monkeypatch.undo()


@pytest.mark.parametrize("description", ["", f"ragmesh layout {schema.LAYOUT}"])
async def test_an_index_of_a_known_layout_or_of_before_there_were_any_is_read(
    milvus_process: MilvusProcess, monkeypatch: pytest.MonkeyPatch, description: str
) -> None:
    index = IndexRef("acme", f"known_{len(description)}")
    await _made(milvus_process.address, index, description, monkeypatch)
    vectors = MilvusVectors(milvus_process.address)
    await vectors.create_index(index, SPEC)  # as it is
    assert await vectors.dense(index, QUERY, 3, where=SearchFilter()) == []
    await vectors.close()


async def test_an_index_of_a_newer_layout_is_refused_and_the_others_go_on(
    milvus_process: MilvusProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer, other = IndexRef("acme", "newer"), IndexRef("acme", "other")
    await _made(milvus_process.address, newer, "ragmesh layout 9", monkeypatch)
    vectors = MilvusVectors(milvus_process.address)
    await vectors.create_index(other, SPEC)
    for call in (vectors.dense(newer, QUERY, 3, where=SearchFilter()), vectors.create_index(newer, SPEC)):
        with pytest.raises(FailedPrecondition, match="vector store has layout 9, written by a newer ragmesh"):
            await call
    assert await vectors.dense(other, QUERY, 3, where=SearchFilter()) == []
    await vectors.drop_index(newer)
    await vectors.close()
