"""How long the supervisor waits before it starts a process again."""

from __future__ import annotations

BACKOFF_SECONDS = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
HEALTHY_AFTER_SECONDS = 10.0
"""A process that ran for this long did not fail because it was started; the next failure counts as the first."""

DRAINED_AFTER_SECONDS = 1.0
"""Whatever ends sooner, also with exit code 0, does not work and would be started without end."""


class Patience:
    """One process's failures in a row."""

    def __init__(self) -> None:
        self._failures = 0

    def pause_seconds(self, exit_code: int, ran_seconds: float) -> float:
        """0 for a process that was asked to end and drained: a restart that somebody wants should be short."""
        if ran_seconds > HEALTHY_AFTER_SECONDS:
            self._failures = 0
        if exit_code == 0 and ran_seconds > DRAINED_AFTER_SECONDS:
            return 0.0
        pause = BACKOFF_SECONDS[min(self._failures, len(BACKOFF_SECONDS) - 1)]
        self._failures += 1
        return pause
