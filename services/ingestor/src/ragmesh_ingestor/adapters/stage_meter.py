"""The stages of ingestion in numbers, for Prometheus."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from ragmesh_backends.model.job import JobStage
from ragmesh_servicekit.telemetry import metrics


@contextmanager
def stage_clock(stage: JobStage) -> Iterator[None]:
    """Satisfies domain.ports.StageClock."""
    name = stage.lower()
    started = time.perf_counter()
    with metrics.STAGE_BUSY.labels(name).track_inprogress():
        try:
            yield
        finally:
            metrics.STAGE_SECONDS.labels(name).observe(time.perf_counter() - started)
