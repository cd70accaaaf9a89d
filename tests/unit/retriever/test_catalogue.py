"""Collections remembered while the record store is down."""

from __future__ import annotations

import pytest

from ragmesh_retriever.domain.catalogue import Catalogue
from ragmesh_servicekit.errors import DeadlineExceeded, NotFound, Unavailable
from support.small_stores import SmallRecords, collection


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def records() -> SmallRecords:
    return SmallRecords({("acme", name): collection(name) for name in ("a", "b", "c")})


async def test_a_fresh_entry_is_served_without_asking(records: SmallRecords, clock: Clock) -> None:
    catalogue = Catalogue(records, clock=clock)
    await catalogue.get("acme", "a")
    clock.now += 4.9
    await catalogue.get("acme", "a")
    assert records.faults.calls["get_collection"] == 1
    clock.now += 0.2
    await catalogue.get("acme", "a")
    assert records.faults.calls["get_collection"] == 2


@pytest.mark.parametrize("error", [Unavailable.dependency("records"), DeadlineExceeded("late")])
async def test_a_stale_entry_serves_for_an_hour_while_the_record_store_is_down(
    records: SmallRecords, clock: Clock, error: Exception
) -> None:
    catalogue = Catalogue(records, clock=clock)
    await catalogue.get("acme", "a")
    records.faults.fail["get_collection"] = error
    clock.now += 1800
    assert (await catalogue.get("acme", "a")).collection_id == "a"
    await catalogue.get("acme", "a")
    assert records.faults.calls["get_collection"] == 2, "a store that is down is not asked by every search"
    clock.now += 1801
    with pytest.raises(Unavailable):
        await catalogue.get("acme", "a")


async def test_a_deleted_collection_is_not_served_stale(records: SmallRecords, clock: Clock) -> None:
    catalogue = Catalogue(records, clock=clock)
    await catalogue.get("acme", "a")
    del records.collections["acme", "a"]
    clock.now += 6
    with pytest.raises(NotFound):
        await catalogue.get("acme", "a")
    records.faults.fail["get_collection"] = Unavailable.dependency("records")
    with pytest.raises(Unavailable):
        await catalogue.get("acme", "a")


async def test_a_missing_collection_is_asked_for_each_time(records: SmallRecords, clock: Clock) -> None:
    catalogue = Catalogue(records, clock=clock)
    with pytest.raises(NotFound):
        await catalogue.get("acme", "new")
    records.collections["acme", "new"] = collection("new")
    assert (await catalogue.get("acme", "new")).collection_id == "new"


async def test_another_tenant_never_gets_the_entry(records: SmallRecords, clock: Clock) -> None:
    catalogue = Catalogue(records, clock=clock)
    await catalogue.get("acme", "a")
    with pytest.raises(NotFound):
        await catalogue.get("other", "a")


async def test_the_least_recently_used_goes_first(records: SmallRecords, clock: Clock) -> None:
    catalogue = Catalogue(records, capacity=2, clock=clock)
    for name in ("a", "b", "a", "c"):
        await catalogue.get("acme", name)
    assert records.faults.calls["get_collection"] == 3
    await catalogue.get("acme", "a")
    assert records.faults.calls["get_collection"] == 3
    await catalogue.get("acme", "b")
    assert records.faults.calls["get_collection"] == 4
