"""The numbers of searches, for Prometheus."""

from __future__ import annotations

from collections.abc import Sequence

from ragmesh_retriever.domain.results import Part, SearchMode, Timing
from ragmesh_servicekit.telemetry import metrics


class PrometheusMeter:
    """Satisfies domain.ports.Meter. What each label's values are is known beforehand, so the series are looked up
    once: a search has seven steps and should not pay for that seven times."""

    def __init__(self) -> None:
        steps = ("embed", "dense", "bm25", "named", "hidden", "links", "fetch")
        self._steps = {step: metrics.SEARCH_STEP_SECONDS.labels(step) for step in steps}
        self._missing = {part: metrics.SEARCH_MISSING_PARTS.labels(part) for part in Part}
        self._hits = {mode: metrics.SEARCH_HITS.labels(mode) for mode in SearchMode}

    def searched(self, timings: Sequence[Timing], missing: Sequence[Part]) -> None:
        for timing in timings:
            step = self._steps.get(timing.name) or metrics.SEARCH_STEP_SECONDS.labels(timing.name)
            step.observe(timing.seconds)
        for part in missing:
            self._missing[part].inc()

    def found(self, mode: SearchMode, hits: int) -> None:
        self._hits[mode].observe(hits)
