"""The breaker of one dependency at one endpoint: calls that are bound to fail are refused at once.

    closed     every call passes; 5 failures in a row, or too large a share of failed or slow ones, open it
    open       every call is refused, for 30 s or until a health check finds the dependency answering
    half-open  2 calls at a time pass; 2 successes close it, one failure opens it again

pybreaker holds the states, counts failures in a row and successes of trials, and tells its listener of changes. It is
never given the call itself, because around an `await` it miscounts: it lets every concurrent trial through, takes a
cancelled caller for a failure or a success, and lets late failures move the time of opening. So calls are admitted
here, and only the results that count are passed on to it.

For one event loop: nothing here awaits, so every step is atomic for its tasks; it is not safe for threads. State is the
process's own: a breaker that asked another store for its state would depend on a dependency.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import pybreaker
import structlog

from ragmesh_servicekit.errors import Unavailable
from ragmesh_servicekit.resilience.window import SlidingWindow
from ragmesh_servicekit.telemetry import metrics

log = structlog.get_logger()

CLOSED, HALF_OPEN, OPEN = "closed", "half-open", "open"
_GAUGE = {CLOSED: 0, HALF_OPEN: 1, OPEN: 2}
_EVENTS = {CLOSED: "breaker.closed", HALF_OPEN: "breaker.half_open", OPEN: "breaker.opened"}

JITTER = 0.1
TRIAL_WAIT_SECONDS = 0.1
"""What a caller is told to wait while the trials of a half-open breaker are under way."""


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """failures: in a row, that open. open_seconds: until trials are let through, +-10 % so that replicas do not all try
    at once. successes: of trials, that close. trials: at the same time. failure_rate, slow_rate: shares (0..1) of the
    calls of the last window_seconds that open when there were at least min_calls."""

    failures: int = 5
    open_seconds: float = 30.0
    successes: int = 2
    trials: int = 2
    failure_rate: float = 0.5
    slow_rate: float = 0.8
    window_seconds: float = 30.0
    min_calls: int = 20


class CallRefused(Unavailable):
    """The dependency was not asked: its breaker is open, or too many calls of this process wait for it."""


class _Failed(Exception):
    """What pybreaker is shown of a failed call: not the error itself, whose traceback it would lengthen."""


class AsyncBreaker:
    """dependency, endpoint: labels of metrics and logs. clock: monotonic seconds. chance: a number from 0 to 1.

    A caller asks `admit`, makes its call, and then says once what became of it, with the number that `admit` gave:
    `success`, `failure` or `neutral`. Results of calls that were admitted before the state changed are ignored.
    """

    def __init__(
        self,
        dependency: str,
        endpoint: str = "",
        policy: BreakerPolicy | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.dependency = dependency
        self.endpoint = endpoint
        self._policy = policy or BreakerPolicy()
        self._clock = clock
        self._chance = chance
        self._window = SlidingWindow(self._policy.window_seconds, clock)
        self._period = 0
        self._trials = 0
        self._open_until = 0.0
        self._cause = ""
        # Its own reset_timeout is never looked at: it goes by the wall clock, which jumps.
        self._machine = pybreaker.CircuitBreaker(
            fail_max=self._policy.failures,
            success_threshold=self._policy.successes,
            state_storage=pybreaker.CircuitMemoryStorage(CLOSED),
            listeners=[_Listener(self._changed)],
            throw_new_error_on_trip=False,
        )
        metrics.BREAKER_STATE.labels(dependency, endpoint).set(_GAUGE[CLOSED])

    @property
    def state(self) -> str:
        """`closed`, `half-open` or `open`; open until the first call after its time."""
        return str(self._machine.current_state)

    @property
    def retry_after_seconds(self) -> float:
        """How long the breaker will go on refusing; 0 when it would let a call through."""
        if self.state == OPEN:
            return max(0.0, self._open_until - self._clock())
        if self.state == HALF_OPEN and self._trials >= self._policy.trials:
            return TRIAL_WAIT_SECONDS
        return 0.0

    def refuse(self, role: str) -> None:
        """Raise what `admit` would raise, and admit nothing."""
        wait = self.retry_after_seconds
        if wait > 0:
            metrics.REFUSED_CALLS.labels(self.dependency, self.endpoint, "breaker").inc()
            refusal = CallRefused.dependency(role)
            refusal.retry_after_seconds = wait
            raise refusal

    def admit(self, role: str = "") -> int:
        """The number of the period, to be given back with the result. role: what a refusal names.

        Raises CallRefused with the time that is left in retry_after_seconds."""
        self.refuse(role or self.dependency)
        if self.state == OPEN:
            self._cause = "time"
            self._machine.half_open()
        if self.state == HALF_OPEN:
            self._trials += 1
        return self._period

    def success(self, period: int, *, slow: bool = False) -> None:
        """The call was answered. A slow answer is one all the same; only many of them open the breaker."""
        if period != self._period:
            return
        self._give_back()
        if self.state == CLOSED:
            self._window.add(slow=slow)
        if self._machine.fail_counter or self.state != CLOSED:  # else it would change nothing
            self._machine.call(_succeed)
        if slow:
            self._judge_window()

    def failure(self, period: int, *, slow: bool = False) -> None:
        """The dependency failed the call."""
        if period != self._period:
            return
        self._give_back()
        self._cause = "failures_in_a_row" if self.state == CLOSED else "failed_trial"
        if self.state == CLOSED:
            self._window.add(failed=True, slow=slow)
        try:
            self._machine.call(_fail)
        except _Failed:
            self._judge_window()

    def neutral(self, period: int) -> None:
        """The call says nothing of the dependency: it was cancelled, or refused for what it asked."""
        if period == self._period:
            self._give_back()

    def answered(self) -> None:
        """A health check was answered: an open breaker need not wait for its time. It does not close by this, because
        a store may answer a ping and fail at its work: the trials decide."""
        if self.state == OPEN:
            self._cause = "health_check"
            self._machine.half_open()

    def _give_back(self) -> None:
        if self.state == HALF_OPEN:
            self._trials -= 1

    def _judge_window(self) -> None:
        if self.state != CLOSED:
            return
        calls, failed, slow = self._window.totals()
        if calls < self._policy.min_calls:
            return
        if failed >= self._policy.failure_rate * calls:
            self._cause = "failure_rate"
        elif slow >= self._policy.slow_rate * calls:
            self._cause = "slow_rate"
        else:
            return
        self._machine.open()

    def _changed(self, state: str) -> None:
        """Told by pybreaker, of every change and of nothing else."""
        self._period += 1
        self._trials = 0
        self._window.clear()
        seconds = 0.0
        if state == OPEN:
            seconds = self._policy.open_seconds * (1 - JITTER + 2 * JITTER * self._chance())
            self._open_until = self._clock() + seconds
        metrics.BREAKER_STATE.labels(self.dependency, self.endpoint).set(_GAUGE[state])
        metrics.BREAKER_CHANGES.labels(self.dependency, self.endpoint, state).inc()
        facts: dict[str, object] = {"dependency": self.dependency, "endpoint": self.endpoint}
        if state == OPEN:
            log.warning(_EVENTS[state], cause=self._cause, seconds=round(seconds, 1), **facts)
        elif state == HALF_OPEN:
            log.info(_EVENTS[state], cause=self._cause, **facts)
        else:
            log.info(_EVENTS[state], **facts)


class _Listener(pybreaker.CircuitBreakerListener):
    def __init__(self, changed: Callable[[str], None]) -> None:
        self._changed = changed

    def state_change(
        self,
        cb: pybreaker.CircuitBreaker,
        old_state: pybreaker.CircuitBreakerState | None,
        new_state: pybreaker.CircuitBreakerState,
    ) -> None:
        self._changed(new_state.name)


def _succeed() -> None:
    return None


def _fail() -> None:
    raise _Failed
