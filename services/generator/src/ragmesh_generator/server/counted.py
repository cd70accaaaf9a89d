"""What is counted of answers as they go out."""

from __future__ import annotations

from ragmesh_generator.domain.events import AnswerEvent, Degraded, Done, Usage
from ragmesh_servicekit.telemetry import metrics


def count(event: AnswerEvent) -> None:
    """Each event of an answer, once."""
    match event:
        case Degraded():
            metrics.STAND_IN_ANSWERS.labels(cause_word(event.cause)).inc()
        case Usage():
            metrics.DROPPED_CITATIONS.inc(event.citations_dropped)
            metrics.DROPPED_PASSAGES.inc(event.passages_dropped)
        case Done():
            metrics.GENERATED_ANSWERS.labels(event.finish_reason).inc()


def cause_word(cause: str) -> str:
    """A model's failure in one word of a small set. Of a status that nobody expected it is the first digit: a server
    may send any."""
    return f"{cause[:8]}xx" if cause.startswith("status_") else cause.lower()
