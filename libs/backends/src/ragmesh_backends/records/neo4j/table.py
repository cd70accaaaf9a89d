"""What the groups of methods share: the client and the clock."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from ragmesh_backends.neo4j.client import Neo4j
from ragmesh_backends.records.clock import to_microseconds, wall_clock


class Table:
    """One group of methods on one client. clock gives the wall time in UTC; tests set their own."""

    def __init__(self, client: Neo4j, clock: Callable[[], datetime] = wall_clock) -> None:
        self._client = client
        self._clock = clock

    def _now(self) -> int:
        return to_microseconds(self._clock())
