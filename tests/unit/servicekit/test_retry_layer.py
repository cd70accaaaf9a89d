"""The one retry of the ingestion path."""

from __future__ import annotations

import pytest

from ragmesh_servicekit import deadline
from ragmesh_servicekit.errors import DeadlineExceeded, Internal, MeshError, Unavailable
from ragmesh_servicekit.resilience.retry import Retry


class Calls:
    """Fails with each of these in turn, then succeeds."""

    def __init__(self, *errors: MeshError) -> None:
        self.errors = list(errors)
        self.made = 0
        self.pauses: list[float] = []

    async def call(self) -> str:
        self.made += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)

    async def run(self, chance: float = 1.0) -> str:
        return await Retry("embeddings", chance=lambda: chance, sleep=self.sleep).run(self.call)


async def test_a_call_that_is_unavailable_is_made_three_times_with_growing_pauses() -> None:
    calls = Calls(Unavailable("1"), Unavailable("2"))
    assert await calls.run() == "done"
    assert (calls.made, calls.pauses) == (3, [0.1, 0.2])
    last = Unavailable("3")
    calls = Calls(Unavailable("1"), Unavailable("2"), last)
    with pytest.raises(Unavailable) as caught:
        await calls.run()
    assert caught.value is last
    assert calls.made == 3


async def test_pauses_have_full_jitter() -> None:
    calls = Calls(Unavailable("1"), Unavailable("2"))
    await calls.run(chance=0.0)
    assert calls.pauses == [0.0, 0.0]


@pytest.mark.parametrize("error", [Internal("x"), DeadlineExceeded("x")])
async def test_nothing_but_unavailable_is_repeated(error: MeshError) -> None:
    calls = Calls(error)
    with pytest.raises(type(error)):
        await calls.run()
    assert calls.made == 1


async def test_what_the_dependency_says_about_asking_again_is_heeded() -> None:
    calls = Calls(Unavailable("x", retry_after_seconds=1.5))
    assert await calls.run() == "done"
    assert calls.pauses == [1.5]
    for seconds in (-1.0, 28.0):  # never; later than a retry is for
        calls = Calls(Unavailable("x", retry_after_seconds=seconds))
        with pytest.raises(Unavailable):
            await calls.run()
        assert (calls.made, calls.pauses) == (1, [])


async def test_no_pause_outlasts_the_deadline() -> None:
    calls = Calls(Unavailable("x", retry_after_seconds=1.5))
    with deadline.scope(1.0), pytest.raises(Unavailable):
        await calls.run()
    assert (calls.made, calls.pauses) == (1, [])
