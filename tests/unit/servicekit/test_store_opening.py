"""The first look at a store, and what a start does while it is not there or refuses."""

from __future__ import annotations

import asyncio

import pytest

from ragmesh_servicekit import opening, starting
from ragmesh_servicekit.errors import FailedPrecondition, Unavailable
from ragmesh_servicekit.health import Check, Health
from ragmesh_servicekit.opening import Opening, StartRefused
from ragmesh_servicekit.resilience.breaker import CLOSED, AsyncBreaker, CallRefused
from ragmesh_servicekit.resilience.guard import Guard
from ragmesh_servicekit.starting import await_dependencies
from support.waiting import until

AWAY = Unavailable.dependency("records")
REFUSED = Unavailable.dependency("records", "the records store refuses the password", cause="authentication")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(starting, "PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(starting, "START_WAIT_SECONDS", 0.2)
    monkeypatch.setattr(starting, "REFUSED_SECONDS", 0.05)


class Store:
    """Its answers, one after the other; the last for ever."""

    def __init__(self, *answers: Exception | None) -> None:
        self._answers = list(answers)
        self.asked = 0

    async def look(self) -> None:
        self.asked += 1
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if answer is not None:
            raise answer


async def test_calls_are_refused_until_the_look_has_succeeded_and_the_breaker_hears_nothing_of_it() -> None:
    breaker = AsyncBreaker("records", "e")
    guard = Guard("records", "e", breaker=breaker)
    store = Store(AWAY, AWAY, None)
    first = Opening("records", store.look, guard)
    for _ in range(10):
        with pytest.raises(CallRefused, match="the graph store has not been opened yet"):
            async with guard.call(1.0, role="graph"):
                raise AssertionError("the store was asked")
    signs = 0
    with pytest.raises(CallRefused):
        async with guard.call(1.0, probe=True):
            signs += 1
    assert (signs, breaker.state, first.done) == (1, CLOSED, False)
    await first.run()
    assert (store.asked, first.done) == (3, True)
    async with guard.call(1.0):
        pass


async def test_a_refused_login_is_waited_out_and_a_newer_store_is_not() -> None:
    store = Store(REFUSED, AWAY, FailedPrecondition("written by a newer ragmesh"))
    guard = Guard("records")
    newer = Opening("records", store.look, guard)
    with pytest.raises(StartRefused, match="written by a newer ragmesh"):
        await newer.run()
    assert (store.asked, newer.done) == (3, False)
    with pytest.raises(CallRefused):
        async with guard.call(1.0):
            pass


def health_of(store: Store) -> Health:
    return Health("test", (Check("records", store.look, login="RAGMESH_RECORDS_PASSWORD"),))


async def test_a_start_waits_for_openings_as_for_checks() -> None:
    gate = asyncio.Event()
    first = Opening("records", gate.wait)
    task = asyncio.create_task(first.run())
    store = Store(None)
    waiting = asyncio.create_task(await_dependencies(health_of(store), [first], asyncio.Event()))
    await until(lambda: store.asked >= 3)  # so it was not content with the first two rounds
    assert not waiting.done()
    gate.set()
    await asyncio.gather(task, waiting)


async def test_a_start_goes_on_without_a_store_that_does_not_answer() -> None:
    store = Store(AWAY)
    never = Opening("records", asyncio.Event().wait)
    await await_dependencies(health_of(store), [never], asyncio.Event())
    assert store.asked > 1


async def test_a_start_ends_with_a_sentence_when_a_login_is_refused_again_and_again() -> None:
    store = Store(REFUSED, AWAY, REFUSED, REFUSED, AWAY)  # too many wrong passwords: not asked for a while
    with pytest.raises(StartRefused) as caught:
        await await_dependencies(health_of(store), [], asyncio.Event())
    assert caught.value.message == "the records store refuses the password; see RAGMESH_RECORDS_PASSWORD"


async def test_a_login_that_is_refused_for_a_moment_does_not_end_a_start() -> None:
    await await_dependencies(health_of(Store(REFUSED, REFUSED, None)), [], asyncio.Event())
