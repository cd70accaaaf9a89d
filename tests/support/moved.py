"""What metrics of this process moved by: the registry is one for all tests of a run, so only differences say
anything."""

from __future__ import annotations

from prometheus_client import REGISTRY


class Moved:
    """Counts from the moment it is made. `name` as it is scraped, with `_total`, `_count`, `_sum`."""

    def __init__(self) -> None:
        self._before = _samples()

    def by(self, name: str, **labels: str) -> float:
        """By how much one series rose."""
        key = (name, tuple(sorted(labels.items())))
        return _samples().get(key, 0.0) - self._before.get(key, 0.0)

    def series(self, name: str) -> list[tuple[dict[str, str], float]]:
        """The labels of each series that rose, and by how much."""
        rose = {key: now - self._before.get(key, 0.0) for key, now in _samples().items() if key[0] == name}
        return [(dict(labels), by) for (_, labels), by in rose.items() if by]


def value(name: str, **labels: str) -> float:
    """What a gauge shows now; 0 when it has not been set."""
    return _samples().get((name, tuple(sorted(labels.items()))), 0.0)


def _samples() -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for metric in REGISTRY.collect()
        for sample in metric.samples
    }
