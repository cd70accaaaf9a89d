"""When the first of two ways counts as lost, by what its channel says of itself."""

from __future__ import annotations

from typing import Any, cast

import grpc
import pytest

from ragmesh_servicekit.fallback import LOST_SECONDS, Fallback

READY = grpc.ChannelConnectivity.READY
IDLE = grpc.ChannelConnectivity.IDLE
LOOKING = grpc.ChannelConnectivity.CONNECTING
FAILING = grpc.ChannelConnectivity.TRANSIENT_FAILURE
CLOSED = grpc.ChannelConnectivity.SHUTDOWN


class First:
    """A channel that says what it is told to."""

    def __init__(self) -> None:
        self.state = IDLE

    def pick(self) -> First:
        return self


class Clocked:
    """Two ways and their clock."""

    def __init__(self) -> None:
        self.now, self.first = 100.0, First()
        self.ways = Fallback(cast(Any, self.first), cast(Any, First()), "test", clock=lambda: self.now)

    def lost(self, state: grpc.ChannelConnectivity, after: float = 0.0) -> bool:
        self.now += after
        self.first.state = state
        return self.ways.lost()


@pytest.fixture
def at() -> Clocked:
    return Clocked()


def test_a_channel_that_looks_for_its_first_connection_is_waited_for_a_moment(at: Clocked) -> None:
    assert not at.lost(IDLE)
    assert not at.lost(LOOKING)
    assert not at.lost(LOOKING, LOST_SECONDS - 0.01)
    assert at.lost(LOOKING, 0.01)
    assert not at.lost(READY)


def test_one_that_had_nothing_to_do_begins_to_look_anew(at: Clocked) -> None:
    assert not at.lost(IDLE)
    assert not at.lost(IDLE, 3600)
    assert not at.lost(LOOKING, LOST_SECONDS - 0.01)


def test_one_that_has_found_nobody_is_lost_at_once_and_until_it_is_connected(at: Clocked) -> None:
    assert not at.lost(READY)
    assert at.lost(FAILING)
    assert at.lost(LOOKING)
    assert at.lost(LOOKING, 3600)
    assert not at.lost(READY)
    assert not at.lost(LOOKING)


def test_one_that_is_closed_is_not_lost(at: Clocked) -> None:
    assert at.lost(FAILING)
    assert not at.lost(CLOSED, 3600)
