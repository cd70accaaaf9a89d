"""The guard of one dependency: every call to it goes through here, and nowhere else.

It bounds the call by its cap and the request's deadline, asks the breaker, keeps the calls under way within a number,
and counts what becomes of them. It never repeats a call: see `retry`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from ragmesh_servicekit import deadline
from ragmesh_servicekit.errors import DeadlineExceeded, Reason
from ragmesh_servicekit.resilience.breaker import AsyncBreaker, CallRefused
from ragmesh_servicekit.resilience.verdict import Verdict, of_error
from ragmesh_servicekit.telemetry import metrics

MAX_CONCURRENT = 256
WAIT_SECONDS = 1.0
SLOW_SHARE = 0.5
STALL_SECONDS = 0.5
"""A timer that fires this late was kept from it: the process stood still."""


_TIMER_SECONDS = 0.005
"""How much before its time a timer may fire."""


class Answering:
    """A call under way, as `Guard.watched` hands it out."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._started = clock()
        self._first: float | None = None

    def answered(self) -> None:
        """The dependency has begun to answer: how long that took decides whether it is slow, not how much it says."""
        if self._first is None:
            self._first = self.elapsed

    @property
    def elapsed(self) -> float:
        return self._clock() - self._started

    @property
    def waited(self) -> float:
        """Seconds until it began to answer; so far, when it has not."""
        return self.elapsed if self._first is None else self._first


class Guard:
    """One dependency at one endpoint. `name` is its role (`vectors`, `records`, `state`, `cache`, `blobs`,
    `embeddings`, `model`) and a label of its metrics; `endpoint` tells two of one role apart.

    breaker: None for a dependency without one. max_concurrent: calls under way; one more waits wait_seconds, then is
    Unavailable (OVERLOADED). slow_share: of its cap; a call that takes longer is slow. For one event loop.
    """

    def __init__(
        self,
        name: str,
        endpoint: str = "",
        *,
        breaker: AsyncBreaker | None = None,
        max_concurrent: int = MAX_CONCURRENT,
        wait_seconds: float = WAIT_SECONDS,
        slow_share: float = SLOW_SHARE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.endpoint = endpoint
        self.breaker = breaker
        self._slots = asyncio.Semaphore(max_concurrent)
        self._wait_seconds = wait_seconds
        self._slow_share = slow_share
        self._clock = clock
        self._held = False
        self._seconds = metrics.DEPENDENCY_SECONDS.labels(name)
        self._calls = {verdict: metrics.DEPENDENCY_CALLS.labels(name, verdict.value) for verdict in Verdict}

    @asynccontextmanager
    async def call(
        self, cap_seconds: float, *, role: str = "", waits_seconds: float = 0.0, probe: bool = False
    ) -> AsyncIterator[None]:
        """Around one call. The driver's errors are turned into MeshErrors inside; of those only Unavailable speaks
        against the dependency.

        role: how errors call it, when one store serves several. waits_seconds: how much of cap_seconds the call itself
        asks the dependency to wait (a blocking read): that is not slow, and takes no place from work.
        probe: a sign of life rather than work (a health check): an open breaker lets it through, its failure does not
        count, and its success ends the breaker's waiting.

        Raises Unavailable naming the dependency when it did not answer within cap_seconds; DeadlineExceeded when the
        request in hand ran out of time before that; CallRefused, which is Unavailable, when it was not asked at all.
        """
        role = role or self.name
        slow_after = waits_seconds + self._slow_share * (cap_seconds - waits_seconds)
        late_after = deadline.within(cap_seconds) + STALL_SECONDS
        if probe:
            async with deadline.dependency(role, cap_seconds):
                yield
            self._refuse_held(role)
            self.answered()
        else:
            self._refuse_held(role)
            judged = self._judged(role, slow_after, late_after, takes_place=not waits_seconds)
            async with judged, deadline.dependency(role, cap_seconds):
                yield

    @asynccontextmanager
    async def watched(self, slow_after_seconds: float, *, role: str = "") -> AsyncIterator[Answering]:
        """As `call`, for an answer that comes in parts and bounds each of its waits itself."""
        role = role or self.name
        async with self._judged(role, slow_after_seconds, float("inf")) as answering:
            yield answering

    def hold(self) -> None:
        """Until `release` no `call` reaches the dependency: each is refused, and the breaker is told nothing. A sign of
        life is asked for, and fails once it was given."""
        self._held = True

    def release(self) -> None:
        """Let calls through, at once."""
        self._held = False
        self.answered()

    def _refuse_held(self, role: str) -> None:
        if self._held:
            metrics.REFUSED_CALLS.labels(self.name, self.endpoint, "not_opened").inc()
            raise CallRefused.dependency(role, f"the {role} store has not been opened yet; try again")

    def answered(self) -> None:
        """A sign of life of the dependency: see `AsyncBreaker.answered`."""
        if self.breaker is not None:
            self.breaker.answered()

    async def _take_place(self, role: str) -> None:
        """One of the places, in turn. While the breaker is open nobody waits for one."""
        if not self._slots.locked():
            await self._slots.acquire()  # does not wait
            return
        if self.breaker is not None:
            self.breaker.refuse(role)
        try:
            async with asyncio.timeout(deadline.within(self._wait_seconds)):
                await self._slots.acquire()
        except TimeoutError as error:
            if _out_of_time():
                raise DeadlineExceeded("the deadline of the request has passed") from error
            metrics.REFUSED_CALLS.labels(self.name, self.endpoint, "bulkhead").inc()
            raise CallRefused(
                f"too many calls of the {role} store are under way; try again",
                reason=Reason.OVERLOADED,
                metadata={"dependency": role},
            ) from error

    @asynccontextmanager
    async def _judged(
        self, role: str, slow_after: float, late_after: float, *, takes_place: bool = True
    ) -> AsyncIterator[Answering]:
        """In its place, and admitted by the breaker, which is told what became of it. Nothing awaits between the
        breaker's word and the call."""
        if takes_place:
            await self._take_place(role)
        try:
            period = self.breaker.admit(role) if self.breaker is not None else 0
            answering = Answering(self._clock)
            try:
                yield answering
            except BaseException as error:
                slow = answering.waited >= slow_after
                self._tell(_verdict(error, slow, answering.elapsed > late_after), period, answering.elapsed, slow)
                raise
            self._tell(Verdict.OK, period, answering.elapsed, answering.waited >= slow_after)
        finally:
            if takes_place:
                self._slots.release()

    def _tell(self, verdict: Verdict, period: int, seconds: float, slow: bool) -> None:
        self._calls[verdict].inc()
        self._seconds.observe(seconds)
        if self.breaker is None:
            return
        if verdict is Verdict.OK:
            self.breaker.success(period, slow=slow)
        elif verdict is Verdict.FAILED:
            self.breaker.failure(period, slow=slow)
        else:
            self.breaker.neutral(period)


def _verdict(error: BaseException, slow: bool, late: bool) -> Verdict:
    """late: its end was seen long after any clock could have ended it."""
    verdict = of_error(error, slow=slow)
    if isinstance(error, asyncio.CancelledError) and slow and _out_of_time():
        verdict = Verdict.FAILED  # cancelled by the clock of its own request, after it had waited long
    return Verdict.STALLED if verdict is Verdict.FAILED and late else verdict


def _out_of_time() -> bool:
    left = deadline.remaining()
    return left is not None and left <= _TIMER_SECONDS
