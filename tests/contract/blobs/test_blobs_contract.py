"""The port of blobs: what every adapter must do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from obstore.store import MemoryStore

from ragmesh_backends.blobs.object_store import ObjectBlobs
from ragmesh_backends.blobs.remote_store import remote_store
from ragmesh_servicekit.errors import InvalidArgument, NotFound, Reason, Unavailable
from support.killed_child import run_and_kill
from support.s3 import s3_settings


@pytest.fixture(params=["folder", "memory", "s3"])
async def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ObjectBlobs]:
    if request.param == "folder":
        yield ObjectBlobs.local(tmp_path / "blobs", max_bytes=1_000_000)
    elif request.param == "memory":
        yield ObjectBlobs(MemoryStore(), max_bytes=1_000_000)
    else:
        made = ObjectBlobs(remote_store(s3_settings()), max_bytes=1_000_000)
        yield made
        for first in ("a", "acme", "fits", "k", "p", "t"):  # what the tests below call their blobs
            await made.delete_prefix(first)


async def keys(blobs: ObjectBlobs, prefix: str) -> list[str]:
    return sorted([key async for key in blobs.list_prefix(prefix)])


def files(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file()]


async def test_a_blob_comes_back_as_it_was_put(blobs: ObjectBlobs) -> None:
    for data in (b"", b"\x00\xff" * 5_000):
        await blobs.put("acme/i1/doc=1.v1", data)
        assert await blobs.get("acme/i1/doc=1.v1") == data
    await blobs.ping()


async def test_many_blobs_are_put_at_once(blobs: ObjectBlobs) -> None:
    many = {f"t/{n % 7}/{n}": str(n).encode() for n in range(100)}
    await blobs.put_many(many)
    assert await keys(blobs, "t") == sorted(many)
    assert await blobs.get("t/3/3") == b"3"


async def test_many_blobs_are_read_at_once_in_the_order_asked(blobs: ObjectBlobs) -> None:
    await blobs.put_many({"t/1": b"one", "t/x/2": b"two"})
    assert await blobs.get_many(["t/x/2", "t/none", "t/1", "t/1/under", "t/1"]) == [b"two", None, b"one", None, b"one"]
    assert await blobs.get_many([]) == []
    await blobs.put_many({})
    with pytest.raises(InvalidArgument):
        await blobs.get_many(["t/1", "../t/1"])


async def test_a_key_may_be_written_by_many_at_once(blobs: ObjectBlobs) -> None:
    await asyncio.gather(*(blobs.put_many({"t/1": b"x" * 1_000, f"t/{n}/2": b"y"}) for n in range(2, 20)))
    assert await blobs.get("t/1") == b"x" * 1_000
    assert len(await keys(blobs, "t")) == 19


async def test_a_range_is_half_open_and_ends_with_the_blob(blobs: ObjectBlobs) -> None:
    await blobs.put("a", b"0123456789")
    assert await blobs.get_range("a", 2, 5) == b"234"
    assert await blobs.get_range("a", 8, 50) == b"89"
    assert await blobs.get_range("a", 10, 12) == b""
    assert await blobs.get_range("a", 4, 4) == b""
    with pytest.raises(InvalidArgument):
        await blobs.get_range("a", 5, 4)


async def test_an_absent_blob_is_not_found_and_may_be_deleted(blobs: ObjectBlobs) -> None:
    with pytest.raises(NotFound):
        await blobs.get("nope")
    with pytest.raises(NotFound):
        await blobs.get_range("no/pe", 0, 1)
    await blobs.put("yes", b"1")
    await blobs.delete_many(["nope", "yes", "no/pe"])
    with pytest.raises(NotFound):
        await blobs.get("yes")


async def test_a_prefix_is_made_of_whole_segments(blobs: ObjectBlobs) -> None:
    await blobs.put_many({"a/b/c": b"1", "a/b/d/e": b"2", "a/bc": b"3", "a/x": b"4"})
    assert await keys(blobs, "a/b") == ["a/b/c", "a/b/d/e"]
    assert await blobs.delete_prefix("a/b") == 2
    assert await blobs.delete_prefix("a/b") == 0
    assert await keys(blobs, "a") == ["a/bc", "a/x"]


async def test_a_prefix_of_more_than_one_page_is_deleted(blobs: ObjectBlobs) -> None:
    await blobs.put_many({f"p/{n % 5}/{n}": b"x" for n in range(1_010)})
    assert await blobs.delete_prefix("p") == 1_010
    assert await keys(blobs, "p") == []


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/a",
        "a/",
        "a//b",
        "..",
        "a/../b",
        "a/./b",
        ".hidden",
        "a b",
        "a\n",
        "a#1",
        "a%2f",
        "ä",
        "a\\b",
        "a\0b",
        "x" * 201,
        "/".join(["x" * 100] * 6),
    ],
)
async def test_an_unsafe_key_is_refused_everywhere(blobs: ObjectBlobs, key: str) -> None:
    for call in (blobs.put(key, b"1"), blobs.get(key), blobs.delete_many([key]), blobs.delete_prefix(key)):
        with pytest.raises(InvalidArgument):
            await call
    with pytest.raises(InvalidArgument):
        await keys(blobs, key)


async def test_one_byte_too_many_is_refused_before_anything_is_written(blobs: ObjectBlobs) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await blobs.put_many({"fits": b"x" * 1_000_000, "big": b"x" * 1_000_001})
    assert caught.value.reason is Reason.CONTENT_TOO_LARGE
    with pytest.raises(NotFound):
        await blobs.get("fits")


async def test_a_blob_that_has_grown_too_large_is_refused_when_read(tmp_path: Path) -> None:
    await ObjectBlobs.local(tmp_path).put("a/b", b"x" * 11)
    blobs = ObjectBlobs.local(tmp_path, max_bytes=10)
    for call in (blobs.get("a/b"), blobs.get_many(["a/b"])):
        with pytest.raises(InvalidArgument):
            await call


async def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    blobs = ObjectBlobs.local(tmp_path)
    await blobs.put("a/b/c", b"1")
    for key in ("a/b", "a/b/c/d"):  # a folder where a file should be, and a file where a folder should be
        with pytest.raises(Unavailable):
            await blobs.put(key, b"1")
    assert files(tmp_path) == ["c"]


async def test_a_folder_that_went_away_is_unavailable(tmp_path: Path) -> None:
    folder = tmp_path / "blobs"
    blobs = ObjectBlobs.local(folder)
    folder.rmdir()
    with pytest.raises(Unavailable):
        await blobs.ping()
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable):
        ObjectBlobs.local(tmp_path / "file")


_CHILD = """
import asyncio, sys
from pathlib import Path
from ragmesh_backends.blobs.object_store import ObjectBlobs
async def main():
    blobs = ObjectBlobs.local(Path(sys.argv[1]))
    for n in range(1_000_000):
        await blobs.put(f"k/{n}", str(n).encode() * 20_000)
        print(n, flush=True)
asyncio.run(main())
"""


async def test_after_kill_9_every_listed_blob_is_whole(tmp_path: Path) -> None:
    acknowledged = await run_and_kill(_CHILD, str(tmp_path / "blobs"), after_lines=20)
    blobs = ObjectBlobs.local(tmp_path / "blobs")
    found = await keys(blobs, "k")
    assert {f"k/{n}" for n in range(acknowledged)} <= set(found)
    for key in found:
        assert await blobs.get(key) == key[2:].encode() * 20_000
