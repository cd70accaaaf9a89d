"""What every store of hidden versions promises to the ingestor and the readers."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from ragmesh_backends.model.collection import IndexRef
from ragmesh_backends.model.document import DocumentVersion
from ragmesh_backends.redis.client import connect
from ragmesh_backends.visibility.redis_visibility import RedisVisibility
from ragmesh_servicekit.errors import Reason, Unavailable
from support.redis import RedisProcess

A1, A2, B1 = DocumentVersion("a", 1), DocumentVersion("a", 2), DocumentVersion("b:é/2", 1)
Connect = Callable[..., AbstractAsyncContextManager[RedisVisibility]]
_numbers = itertools.count()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisProcess]:
    process = RedisProcess(tmp_path_factory.mktemp("rv"))
    process.start_and_wait()
    yield process
    process.kill()


@pytest.fixture(params=["redis"])
def connected(request: pytest.FixtureRequest, server: RedisProcess) -> Connect:
    """How a process joins, of each kind of store that the suite runs against."""

    @asynccontextmanager
    async def redis(**options: int) -> AsyncIterator[RedisVisibility]:
        client = connect(server.address)
        try:
            yield RedisVisibility(client, **options)
        finally:
            await client.aclose()

    return {"redis": redis}[request.param]


@pytest.fixture
async def writer(connected: Connect) -> AsyncIterator[RedisVisibility]:
    """The ingestor's."""
    async with connected() as visibility:
        yield visibility


@pytest.fixture
async def reader(connected: Connect) -> AsyncIterator[RedisVisibility]:
    """A retriever's, in another process."""
    async with connected() as visibility:
        yield visibility


@pytest.fixture
async def index(writer: RedisVisibility) -> IndexRef:
    """A new index, as creating a collection leaves it."""
    ref = IndexRef("acme", f"acme_{next(_numbers)}")
    await writer.rebuild(ref, ())
    return ref


async def test_a_new_index_hides_nothing(reader: RedisVisibility, index: IndexRef) -> None:
    assert await reader.hidden(index) == frozenset()


async def test_an_index_that_was_never_built_is_not_known(reader: RedisVisibility) -> None:
    assert await reader.hidden(IndexRef("acme", "never")) is None


async def test_every_reader_sees_a_change_at_once(
    writer: RedisVisibility, reader: RedisVisibility, index: IndexRef
) -> None:
    for _ in range(3):
        await writer.hide(index, [A1, B1])
        assert await reader.hidden(index) == frozenset({A1, B1})
        assert await reader.hidden(index) == frozenset({A1, B1})
        await writer.flip(index, [A1], [])
        assert await reader.hidden(index) == frozenset({B1})


async def test_hiding_bears_repetition(writer: RedisVisibility, index: IndexRef) -> None:
    await writer.hide(index, [A1])
    await writer.hide(index, [A1])
    assert await writer.hidden(index) == frozenset({A1})


async def test_a_flip_is_never_seen_half_done(
    writer: RedisVisibility, reader: RedisVisibility, index: IndexRef
) -> None:
    await writer.hide(index, [A2])
    seen = set()
    done = asyncio.Event()

    async def read() -> None:
        while not done.is_set():
            seen.add(await reader.hidden(index))

    reading = asyncio.create_task(read())
    for _ in range(50):
        await writer.flip(index, [A2], [A1])
        await writer.flip(index, [A1], [A2])
    done.set()
    await reading
    assert seen <= {frozenset({A1}), frozenset({A2})}


async def test_what_is_forgotten_is_not_hidden_any_more(writer: RedisVisibility, index: IndexRef) -> None:
    await writer.hide(index, [A1, A2])
    await writer.forget(index, [A1, B1])
    assert await writer.hidden(index) == frozenset({A2})


async def test_changing_nothing_is_no_error(writer: RedisVisibility, index: IndexRef) -> None:
    await writer.hide(index, [])
    await writer.flip(index, [], [])
    await writer.forget(index, [])
    assert await writer.hidden(index) == frozenset()


async def test_indexes_and_tenants_do_not_share_what_is_hidden(writer: RedisVisibility, index: IndexRef) -> None:
    other = IndexRef("globex", index.name)
    await writer.rebuild(other, ())
    await writer.hide(index, [A1])
    assert await writer.hidden(other) == frozenset()


async def test_a_dropped_index_is_not_known_any_more(
    writer: RedisVisibility, reader: RedisVisibility, index: IndexRef
) -> None:
    await reader.hidden(index)
    await writer.drop(index)
    assert await reader.hidden(index) is None


async def test_many_versions_are_hidden_and_shown(writer: RedisVisibility, index: IndexRef) -> None:
    many = [DocumentVersion(f"d{number}", number) for number in range(5_000)]
    await writer.hide(index, many)
    assert await writer.hidden(index) == frozenset(many)
    await writer.flip(index, many, [])
    assert await writer.hidden(index) == frozenset()


async def test_hiding_is_bounded_and_showing_is_not(connected: Connect, index: IndexRef) -> None:
    async with connected(max_hidden=10) as bounded:
        await bounded.hide(index, [DocumentVersion("d", number) for number in range(1, 9)])
        with pytest.raises(Unavailable, match="more than 10 documents") as caught:
            await bounded.hide(index, [A1])
        assert caught.value.reason is Reason.OVERLOADED
        await bounded.flip(index, [DocumentVersion("d", 8)], [DocumentVersion("d", 0)])
        await bounded.flip(index, [DocumentVersion("d", 7)], [])
        await bounded.hide(index, [A1])


# -- after the store lost its data -----------------------------------------------------------------


async def test_a_change_does_not_make_a_lost_set_look_whole(
    writer: RedisVisibility, reader: RedisVisibility, index: IndexRef
) -> None:
    await reader.hidden(index)
    await writer.drop(index)
    await writer.hide(index, [A1])
    assert await reader.hidden(index) is None
    await writer.rebuild(index, [B1])
    assert await reader.hidden(index) == frozenset({A1, B1})


async def test_a_rebuild_from_an_older_record_does_not_undo_a_flip(writer: RedisVisibility, index: IndexRef) -> None:
    await writer.drop(index)
    record = [A2]  # read before the flip that follows
    await writer.flip(index, [A2], [A1])
    await writer.rebuild(index, record)
    assert await writer.hidden(index) == frozenset({A1})


async def test_a_rebuild_of_a_whole_set_changes_nothing(writer: RedisVisibility, index: IndexRef) -> None:
    await writer.hide(index, [A1])
    await writer.rebuild(index, [A2])
    assert await writer.hidden(index) == frozenset({A1})


async def test_a_reader_does_not_take_a_rebuilt_set_for_the_one_it_knew(
    writer: RedisVisibility, reader: RedisVisibility, index: IndexRef
) -> None:
    await writer.hide(index, [A1])
    assert await reader.hidden(index) == frozenset({A1})
    await writer.drop(index)
    await writer.rebuild(index, [])
    await writer.hide(index, [B1])
    assert await reader.hidden(index) == frozenset({B1})
