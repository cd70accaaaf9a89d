"""Which collections are kept in the store's memory."""

from __future__ import annotations

import asyncio

import pytest

from ragmesh_backends.vectors.residency import Residency


class Store:
    """Records what it is asked to load and release."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.fails = False

    async def load(self, name: str) -> None:
        await asyncio.sleep(0)
        if self.fails:
            raise RuntimeError("down")
        self.done.append(f"+{name}")

    async def release(self, name: str) -> None:
        self.done.append(f"-{name}")


@pytest.fixture
def store() -> Store:
    return Store()


def residency(store: Store, max_loaded: int) -> Residency:
    return Residency(max_loaded, load=store.load, release=store.release)


async def use(kept: Residency, *names: str) -> None:
    for name in names:
        async with kept.using(name):
            pass


async def test_the_one_unused_for_longest_is_released_first(store: Store) -> None:
    await use(residency(store, 2), "a", "b", "a", "c", "b")
    assert store.done == ["+a", "+b", "+c", "-b", "+b", "-a"]


async def test_one_in_use_is_never_released(store: Store) -> None:
    kept = residency(store, 1)
    async with kept.using("a"):
        await use(kept, "b", "c")
        assert "-a" not in store.done
    await use(kept, "d")
    assert kept.loaded == ("d",)


async def test_sixteen_first_uses_load_once(store: Store) -> None:
    kept = residency(store, 4)
    await asyncio.gather(*(use(kept, "a") for _ in range(16)))
    assert store.done == ["+a"]


async def test_what_could_not_be_loaded_is_tried_again(store: Store) -> None:
    kept = residency(store, 4)
    store.fails = True
    with pytest.raises(RuntimeError):
        await use(kept, "a")
    store.fails = False
    await use(kept, "a")
    assert kept.loaded == ("a",)


async def test_what_was_forgotten_is_loaded_again(store: Store) -> None:
    kept = residency(store, 4)
    await use(kept, "a")
    kept.forget("a")
    kept.forget("a")
    await use(kept, "a")
    assert store.done == ["+a", "+a"]
