"""What became of the calls of the last seconds: how many failed, and how many were slow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

BUCKETS = 10


@dataclass(slots=True)
class _Bucket:
    number: int = -1
    calls: int = 0
    failed: int = 0
    slow: int = 0


class SlidingWindow:
    """Calls of the last `seconds`, counted in `BUCKETS` buckets, so that adding one and asking are both cheap however
    many calls there are. The oldest bucket leaves as a whole: the window is between 9/10 of `seconds` and all of it.
    clock: monotonic seconds."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._width = seconds / BUCKETS
        self._clock = clock
        self._buckets = [_Bucket() for _ in range(BUCKETS)]

    def add(self, *, failed: bool = False, slow: bool = False) -> None:
        """One call that ended now."""
        number = int(self._clock() / self._width)
        bucket = self._buckets[number % BUCKETS]
        if bucket.number != number:
            bucket.number, bucket.calls, bucket.failed, bucket.slow = number, 0, 0, 0
        bucket.calls += 1
        bucket.failed += failed
        bucket.slow += slow

    def totals(self) -> tuple[int, int, int]:
        """Calls; of those failed; of those slow (a call may be both)."""
        oldest = int(self._clock() / self._width) - BUCKETS + 1
        live = [bucket for bucket in self._buckets if bucket.number >= oldest]
        return sum(b.calls for b in live), sum(b.failed for b in live), sum(b.slow for b in live)

    def clear(self) -> None:
        """Forget everything."""
        for bucket in self._buckets:
            bucket.number = -1
