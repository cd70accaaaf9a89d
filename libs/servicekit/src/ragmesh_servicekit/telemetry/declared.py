"""How metrics are declared: with their labels, what they say, and which processes report them.

All processes of the mesh import the same module of names, so each has every metric in its registry. `Exposed` shows of
them what a process reports: a gateway that said 0 of the queue would say something that it does not know.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

# One more series for each counter and histogram, which nobody reads.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the client left it untyped

PROCESSES = ("gateway", "retriever", "generator", "ingestor")
"""The services, and `of` of a metric that each of them reports."""


@dataclass(frozen=True, slots=True)
class Declared:
    """One metric as docs/metrics.md shows it. name: as it is scraped, `_total` of a counter included; a histogram's
    without `_bucket`, `_sum` and `_count`. of: the processes that report it."""

    name: str
    kind: str
    labels: tuple[str, ...]
    says: str
    of: tuple[str, ...]
    buckets: tuple[float, ...] = ()


DECLARED: dict[str, Declared] = {}
"""By the name that the registry knows the metric by, which for a counter is without `_total`."""


def counter(name: str, says: str, labels: Sequence[str] = (), *, of: Sequence[str] = PROCESSES) -> Counter:
    """A count that only rises. name: without `_total`, which the client adds."""
    DECLARED[name] = Declared(f"{name}_total", "counter", tuple(labels), says, tuple(of))
    return Counter(name, says, labels)


def gauge(name: str, says: str, labels: Sequence[str] = (), *, of: Sequence[str] = PROCESSES) -> Gauge:
    """A value that rises and falls."""
    DECLARED[name] = Declared(name, "gauge", tuple(labels), says, tuple(of))
    return Gauge(name, says, labels)


def histogram(
    name: str, says: str, labels: Sequence[str] = (), *, buckets: Sequence[float], of: Sequence[str] = PROCESSES
) -> Histogram:
    """How values are spread. buckets: their upper bounds, rising; one without bound is added."""
    DECLARED[name] = Declared(name, "histogram", tuple(labels), says, tuple(of), tuple(buckets))
    return Histogram(name, says, labels, buckets=buckets)


class Exposed(Collector):
    """What the process of this name reports: its own metrics, and those that are nobody's (Python's and the
    process's)."""

    def __init__(self, process: str) -> None:
        self._process = process

    def collect(self) -> Iterator[Metric]:
        for metric in REGISTRY.collect():
            declared = DECLARED.get(metric.name)
            if declared is None or self._process not in PROCESSES or self._process in declared.of:
                yield metric


def reference() -> str:
    """A Markdown table of all metrics, in the order of their declaration."""
    lines = ["| metric | type | labels | reported by | meaning |", "|---|---|---|---|---|"]
    for one in DECLARED.values():
        labels = ", ".join(f"`{label}`" for label in one.labels)
        of = "all" if set(one.of) == set(PROCESSES) else ", ".join(one.of)
        says = one.says
        if one.buckets:
            says += f" Buckets from {one.buckets[0]:g} to {one.buckets[-1]:g}."
        lines.append(f"| `{one.name}` | {one.kind} | {labels} | {of} | {says} |")
    return "\n".join(lines) + "\n"
