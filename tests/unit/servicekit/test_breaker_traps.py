"""The breaker, trap by trap: each of these goes wrong when pybreaker is put around an `await` by itself."""

from __future__ import annotations

import asyncio
import random
import time
from datetime import UTC, datetime, timedelta
from unittest import mock

import pybreaker
import pytest
import structlog

from ragmesh_servicekit import deadline
from ragmesh_servicekit.errors import (
    Aborted,
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    MeshError,
    NotFound,
    PermissionDenied,
    Reason,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)
from ragmesh_servicekit.resilience.breaker import AsyncBreaker, BreakerPolicy, CallRefused
from ragmesh_servicekit.resilience.guard import Guard


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> AsyncBreaker:
    return AsyncBreaker("vectors", "test", clock=clock, chance=lambda: 0.5)


@pytest.fixture
def guard(breaker: AsyncBreaker, clock: Clock) -> Guard:
    return Guard("vectors", "test", breaker=breaker, clock=clock)


async def fails(guard: Guard, error: BaseException | None = None) -> None:
    with pytest.raises(type(error) if error is not None else Unavailable):
        async with guard.call(5.0):
            raise error if error is not None else Unavailable.dependency("vectors")


async def succeeds(guard: Guard) -> None:
    async with guard.call(5.0):
        pass


async def opened(guard: Guard) -> None:
    for _ in range(5):
        await fails(guard)
    assert guard.breaker is not None
    assert guard.breaker.state == "open"


async def half_opened(guard: Guard, clock: Clock) -> None:
    """Open, and its time over."""
    await opened(guard)
    clock.now += 30.0


async def test_five_awaited_failures_in_a_row_open_it(guard: Guard, breaker: AsyncBreaker) -> None:
    for _ in range(4):
        await fails(guard)
    await succeeds(guard)
    for _ in range(4):
        await fails(guard)
    assert breaker.state == "closed"
    await fails(guard)
    assert breaker.state == "open"


async def test_the_failure_that_opens_it_is_raised_itself(guard: Guard) -> None:
    for _ in range(4):
        await fails(guard)
    own = Unavailable("mine")
    with pytest.raises(Unavailable) as caught:
        async with guard.call(5.0):
            raise own
    assert caught.value is own
    assert not isinstance(caught.value, pybreaker.CircuitBreakerError)


async def test_while_it_is_open_nothing_is_asked_and_the_rest_of_the_time_is_told(guard: Guard, clock: Clock) -> None:
    await opened(guard)
    clock.now += 10.0
    asked = False
    started = time.perf_counter()
    for _ in range(100):
        with pytest.raises(CallRefused) as caught:
            async with guard.call(5.0, role="queue"):
                asked = True
    assert time.perf_counter() - started < 0.05  # 500 us each would still be at once
    assert not asked
    assert caught.value.retry_after_seconds == pytest.approx(20.0)
    assert caught.value.metadata == {"dependency": "queue"}
    assert caught.value.reason is Reason.DEPENDENCY_UNAVAILABLE


@pytest.mark.parametrize(("chance", "seconds"), [(0.0, 27.0), (0.5, 30.0), (1.0, 33.0)])
async def test_replicas_do_not_all_try_again_at_the_same_time(chance: float, seconds: float, clock: Clock) -> None:
    breaker = AsyncBreaker("vectors", clock=clock, chance=lambda: chance)
    await opened(Guard("vectors", breaker=breaker, clock=clock))
    assert breaker.retry_after_seconds == pytest.approx(seconds)


async def test_of_twenty_concurrent_trials_two_go_through(guard: Guard, breaker: AsyncBreaker, clock: Clock) -> None:
    await half_opened(guard, clock)
    release, under_way, refused = asyncio.Event(), 0, 0

    async def trial() -> None:
        nonlocal under_way, refused
        try:
            async with guard.call(5.0):
                under_way += 1
                await release.wait()
        except CallRefused:
            refused += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(trial())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert (under_way, refused, breaker.state) == (2, 18, "half-open")
        release.set()
    assert breaker.state == "closed"


async def test_two_successful_trials_close_it_and_one_failed_one_opens_it(
    guard: Guard, breaker: AsyncBreaker, clock: Clock
) -> None:
    await half_opened(guard, clock)
    await succeeds(guard)
    assert breaker.state == "half-open"
    await fails(guard)
    assert breaker.state == "open"
    assert breaker.retry_after_seconds == pytest.approx(30.0)
    clock.now += 30.0
    await succeeds(guard)
    await succeeds(guard)
    assert breaker.state == "closed"
    for _ in range(4):
        await fails(guard)
    assert breaker.state == "closed"  # nothing is left of the old row


async def test_a_cancelled_caller_is_no_failure_and_stays_cancelled(guard: Guard, breaker: AsyncBreaker) -> None:
    for _ in range(4):
        await fails(guard)
    for _ in range(20):
        task = asyncio.create_task(hang(guard))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert breaker.state == "closed"
    await fails(guard)  # and the cancelled ones were no successes: the row went on
    assert breaker.state == "open"


async def hang(guard: Guard) -> None:
    async with guard.call(5.0):
        await asyncio.Event().wait()


async def test_a_cancelled_trial_neither_closes_nor_opens_and_gives_its_permit_back(
    guard: Guard, breaker: AsyncBreaker, clock: Clock
) -> None:
    await half_opened(guard, clock)
    for _ in range(10):
        tasks = [asyncio.create_task(hang(guard)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(CallRefused):
            await succeeds(guard)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert breaker.state == "half-open"
    await succeeds(guard)
    await succeeds(guard)
    assert breaker.state == "closed"


async def test_two_hundred_clients_that_leave_at_random_never_open_it(guard: Guard, breaker: AsyncBreaker) -> None:
    chance = random.Random(7)

    async def work() -> None:
        async with guard.call(5.0):
            for _ in range(10):
                await asyncio.sleep(0)

    for _ in range(200):
        task = asyncio.create_task(work())
        for _ in range(chance.randrange(12)):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert breaker.state == "closed"
    for _ in range(4):
        await fails(guard)
    assert breaker.state == "closed"


async def test_late_failures_do_not_move_the_time_of_opening(guard: Guard, breaker: AsyncBreaker, clock: Clock) -> None:
    release = asyncio.Event()

    async def late() -> None:
        async with guard.call(60.0):
            await release.wait()
            raise Unavailable("late")

    tasks = [asyncio.create_task(late()) for _ in range(10)]
    await asyncio.sleep(0)
    await opened(guard)
    clock.now += 20.0
    release.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert breaker.retry_after_seconds == pytest.approx(10.0)


async def test_a_late_success_does_not_count_as_a_trial_nor_give_a_permit(
    guard: Guard, breaker: AsyncBreaker, clock: Clock
) -> None:
    early = [breaker.admit() for _ in range(3)]
    await half_opened(guard, clock)
    trials = [breaker.admit() for _ in range(2)]
    for period in early:
        breaker.success(period)
    assert breaker.state == "half-open"
    with pytest.raises(CallRefused):
        breaker.admit()
    for period in trials:
        breaker.success(period)
    assert breaker.state == "closed"


@pytest.mark.parametrize(
    "error",
    [
        InvalidArgument("x"),
        Unauthenticated("x"),
        PermissionDenied("x"),
        NotFound("x"),
        AlreadyExists("x"),
        FailedPrecondition("x"),
        Aborted("x"),
        ResourceExhausted("x"),
        Internal("x"),
        DeadlineExceeded("x"),
        KeyError("a fault of ours"),
        Unavailable("our own pool is full", reason=Reason.OVERLOADED),
        Unavailable("our own closing", reason=Reason.DRAINING),
        Unavailable("the key is wrong", metadata={"cause": "authentication"}),
        Unavailable("the settings are wrong", metadata={"cause": "bad_request"}),
        Unavailable("the disk is full", metadata={"cause": "disk"}),
    ],
    ids=lambda error: f"{type(error).__name__}-{error}",
)
async def test_what_says_nothing_against_the_dependency_is_neither_failure_nor_success(
    error: Exception, guard: Guard, breaker: AsyncBreaker, clock: Clock
) -> None:
    for _ in range(4):
        await fails(guard)
    for _ in range(30):
        await fails(guard, error)
    assert breaker.state == "closed"
    await fails(guard)
    assert breaker.state == "open"
    clock.now += 30.0
    for _ in range(5):
        await fails(guard, error)
    assert breaker.state == "half-open"


async def test_the_end_of_a_short_deadline_is_neutral_and_that_of_a_long_one_is_not(
    guard: Guard, breaker: AsyncBreaker, clock: Clock
) -> None:
    async def out_of_time(after: float) -> None:
        async with guard.call(5.0):
            clock.now += after
            raise DeadlineExceeded("x")

    for _ in range(10):
        with pytest.raises(DeadlineExceeded):
            await out_of_time(2.0)
    assert breaker.state == "closed"
    for _ in range(5):
        with pytest.raises(DeadlineExceeded):
            await out_of_time(2.5)
    assert breaker.state == "open"


@pytest.mark.parametrize(("slow_share", "state"), [(0.5, "closed"), (0.001, "open")])
async def test_a_call_that_is_cancelled_by_its_requests_deadline_counts_when_it_was_slow(
    slow_share: float, state: str
) -> None:
    guard = Guard("vectors", breaker=AsyncBreaker("vectors"), slow_share=slow_share)

    async def leg() -> None:
        with deadline.scope(0.02):
            async with asyncio.timeout(0.02):  # begun before the guard's own, and so first
                await hang(guard)

    for _ in range(5):
        with pytest.raises((TimeoutError, DeadlineExceeded)):
            await leg()
    assert guard.breaker is not None
    assert guard.breaker.state == state


async def test_a_process_that_stood_still_does_not_blame_its_dependencies(
    guard: Guard, breaker: AsyncBreaker, clock: Clock
) -> None:
    async def stopped() -> None:
        async with guard.call(5.0):
            clock.now += 10.0  # the timer of 5 s fires on waking up
            raise Unavailable("time-out")

    for _ in range(10):
        with pytest.raises(Unavailable):
            await stopped()
    assert breaker.state == "closed"


async def test_the_wall_clock_does_not_matter(guard: Guard, breaker: AsyncBreaker, clock: Clock) -> None:
    await opened(guard)
    ahead = mock.Mock(wraps=datetime)
    ahead.now = lambda zone=None: datetime.now(zone or UTC) + timedelta(hours=1)
    with mock.patch.object(pybreaker, "datetime", ahead):
        with pytest.raises(CallRefused):
            await succeeds(guard)
        clock.now += 30.0
        await fails(guard)
        assert breaker.state == "open"


async def test_calls_run_beside_each_other(guard: Guard) -> None:
    barrier = asyncio.Barrier(50)

    async def one() -> None:
        async with guard.call(5.0):
            await barrier.wait()

    await asyncio.wait_for(asyncio.gather(*(one() for _ in range(50))), 5.0)


async def test_an_excluded_class_does_not_exclude_all(guard: Guard, breaker: AsyncBreaker) -> None:
    """pybreaker's `exclude` takes a class with a metaclass for a function, and every result of it for true."""
    assert breaker._machine.excluded_exceptions == ()
    assert all(type(error) is type for error in MeshError.__subclasses__())
    await opened(guard)


async def test_a_share_of_failures_opens_it_though_never_five_in_a_row(
    guard: Guard, breaker: AsyncBreaker, clock: Clock
) -> None:
    for number in range(19):
        clock.now += 1.0
        await (fails(guard) if number % 2 else succeeds(guard))
    assert breaker.state == "closed"  # too few calls to judge
    await fails(guard)
    assert breaker.state == "open"


async def test_old_failures_leave_the_window(guard: Guard, breaker: AsyncBreaker, clock: Clock) -> None:
    for number in range(300):
        clock.now += 2.0  # at most 16 calls within 30 s
        await (fails(guard) if number % 2 else succeeds(guard))
    assert breaker.state == "closed"


async def test_slow_answers_open_it_and_waiting_on_request_is_not_slow(
    guard: Guard, breaker: AsyncBreaker, clock: Clock
) -> None:
    policy = BreakerPolicy(window_seconds=1000.0)
    patient = Guard("vectors", breaker=AsyncBreaker("vectors", "p", policy, clock=clock), clock=clock)
    for _ in range(40):
        async with patient.call(25.0, waits_seconds=20.0):
            clock.now += 20.0
    assert patient.breaker is not None
    assert patient.breaker.state == "closed"
    for number in range(20):
        assert breaker.state == "closed"
        async with guard.call(2.0):
            clock.now += 1.0 if number % 10 else 0.9
    assert breaker.state == "open"


async def test_an_answered_health_check_ends_the_waiting_but_does_not_close(
    guard: Guard, breaker: AsyncBreaker
) -> None:
    await opened(guard)
    for _ in range(3):
        with pytest.raises(Unavailable):
            async with guard.call(1.0, probe=True):
                raise Unavailable("still down")
    assert breaker.state == "open"
    async with guard.call(1.0, probe=True):
        pass
    async with guard.call(1.0, probe=True):
        pass
    assert breaker.state == "half-open"
    await succeeds(guard)
    await succeeds(guard)
    assert breaker.state == "closed"


async def test_failed_health_checks_do_not_open_it(guard: Guard, breaker: AsyncBreaker) -> None:
    for _ in range(20):
        with pytest.raises(Unavailable):
            async with guard.call(1.0, probe=True):
                raise Unavailable("down")
    assert breaker.state == "closed"


async def test_changes_are_logged_once_with_their_cause(guard: Guard, clock: Clock) -> None:
    with structlog.testing.capture_logs() as logs:
        await half_opened(guard, clock)
        await succeeds(guard)
        await succeeds(guard)
    assert [line["event"] for line in logs] == ["breaker.opened", "breaker.half_open", "breaker.closed"]
    assert logs[0]["cause"] == "failures_in_a_row"
    assert {(line["dependency"], line["endpoint"]) for line in logs} == {("vectors", "test")}
