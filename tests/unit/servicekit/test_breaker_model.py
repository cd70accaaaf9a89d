"""The breaker against a model of it, under any order of calls, results, cancellations and time."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from ragmesh_servicekit.resilience.breaker import AsyncBreaker, BreakerPolicy, CallRefused

POLICY = BreakerPolicy(failures=3, open_seconds=10.0, successes=2, trials=2, min_calls=1_000_000)


class BreakerModel(RuleBasedStateMachine):
    """What the breaker must be after each step, kept apart from it."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.breaker = AsyncBreaker("model", clock=lambda: self.now, chance=lambda: 0.5, policy=POLICY)
        self.state, self.period = "closed", 0
        self.row = self.good = self.trials = 0
        self.opens_until = 0.0

    admitted = Bundle("admitted")

    def turn(self, state: str) -> None:
        self.state, self.period = state, self.period + 1
        self.row = self.good = self.trials = 0
        if state == "open":
            self.opens_until = self.now + POLICY.open_seconds

    @rule(seconds=st.floats(0.0, 15.0))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(target=admitted)
    def begin(self) -> object:
        if self.state == "open" and self.now >= self.opens_until:
            self.turn("half-open")
        refused = self.state == "open" or (self.state == "half-open" and self.trials >= POLICY.trials)
        assert (self.breaker.retry_after_seconds > 0) == refused
        if refused:
            with pytest.raises(CallRefused):
                self.breaker.admit()
            return multiple()
        period = self.breaker.admit()
        self.trials += self.state == "half-open"
        return (period, self.period)

    @rule(call=consumes(admitted))
    def succeed(self, call: tuple[int, int]) -> None:
        self.breaker.success(call[0])
        if call[1] != self.period:
            return
        self.row = 0
        if self.state == "half-open":
            self.trials -= 1
            self.good += 1
            if self.good >= POLICY.successes:
                self.turn("closed")

    @rule(call=consumes(admitted))
    def fail(self, call: tuple[int, int]) -> None:
        self.breaker.failure(call[0])
        if call[1] != self.period:
            return
        self.row += 1
        if self.state == "half-open" or self.row >= POLICY.failures:
            self.turn("open")

    @rule(call=consumes(admitted))
    def cancel(self, call: tuple[int, int]) -> None:
        self.breaker.neutral(call[0])
        if call[1] == self.period and self.state == "half-open":
            self.trials -= 1

    @rule()
    def answer_a_ping(self) -> None:
        self.breaker.answered()
        if self.state == "open":
            self.turn("half-open")

    @invariant()
    def agrees(self) -> None:
        assert self.breaker.state == self.state


BreakerModel.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestBreakerModel = BreakerModel.TestCase
