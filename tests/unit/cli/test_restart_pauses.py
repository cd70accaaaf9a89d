"""How long the supervisor waits before a restart."""

from __future__ import annotations

from ragmesh_cli.mesh.patience import BACKOFF_SECONDS, Patience


def test_a_process_that_drained_is_started_again_at_once() -> None:
    patience = Patience()
    assert [patience.pause_seconds(0, 5.0) for _ in range(4)] == [0.0] * 4


def test_a_process_that_fails_again_and_again_waits_longer_each_time() -> None:
    patience = Patience()
    assert tuple(patience.pause_seconds(1, 0.3) for _ in range(8)) == (*BACKOFF_SECONDS, 30.0, 30.0)


def test_one_that_ends_well_but_at_once_waits_as_well() -> None:
    patience = Patience()
    assert [patience.pause_seconds(0, 0.2) for _ in range(2)] == [0.5, 1.0]


def test_a_process_that_served_for_a_while_starts_from_the_shortest_pause() -> None:
    patience = Patience()
    assert [patience.pause_seconds(-9, seconds) for seconds in (2.0, 2.0, 12.0, 2.0)] == [0.5, 1.0, 0.5, 1.0]
