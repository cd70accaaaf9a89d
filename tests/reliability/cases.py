"""The cases: what is done to the house while the load runs, and what must hold."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from reliability import judge
from reliability.house import House
from reliability.judge import Rule

SETTLE_SECONDS = 2.0
"""Undisturbed load at the begin of each case."""

CONVERGE_SECONDS = 2.0
"""After a process is back and before the next is hit: its peers have found it again by then."""

Inject = Callable[[House, float], Awaitable[None]]
"""Does the harm, given the house and the CLOCK_MONOTONIC time at which the load ends."""


@dataclass(frozen=True, slots=True)
class Case:
    """short_seconds: 0 leaves it out of the short set. full_seconds: for at least 3,000 requests."""

    name: str
    title: str
    inject: Inject
    rules: tuple[Rule, ...]
    short_seconds: float = 0.0
    full_seconds: float = 100.0


def in_turn(names: tuple[str, ...], act: str, every: float, room: float) -> Inject:
    """One process after the other, the next at the earliest `every` seconds after the last and only when that is back,
    until less than `room` seconds of load are left."""

    async def inject(house: House, end: float) -> None:
        await asyncio.sleep(SETTLE_SECONDS)
        turn = 0
        while turn == 0 or time.monotonic() + room < end:
            began = time.monotonic()
            await getattr(house.faults, act)(names[turn % len(names)])
            turn += 1
            await asyncio.sleep(max(CONVERGE_SECONDS, began + every - time.monotonic()))

    return inject


def _both(service: str) -> tuple[str, str]:
    return (f"{service}-1", f"{service}-2")


ALWAYS = (judge.no_document_is_lost, judge.nothing_else_ends)


def _undisturbed() -> Case:
    async def nothing(house: House, end: float) -> None:
        return

    return Case("steady", "nothing happens", nothing, (judge.nothing_fails, *ALWAYS), 8.0)


def _terminated(service: str) -> Case:
    return Case(
        f"sigterm-{service}",
        f"SIGTERM of each {service} in turn",
        in_turn(_both(service), "terminate", 6.0, 4.0),
        (judge.nothing_fails, judge.no_stream_is_cut, *ALWAYS),
        14.0,
    )


def _killed(service: str) -> Case:
    return Case(
        f"sigkill-{service}",
        f"SIGKILL of each {service} in turn",
        in_turn(_both(service), "kill", 5.0, 4.0),
        (judge.repeatable_calls_hold, judge.streams_say_how_they_end, judge.every_reply_is_foreseen, *ALWAYS),
        12.0 if service in {"retriever", "ingestor"} else 0.0,
    )


def _stopped(service: str) -> Case:
    strict = (judge.at_most_failed(0.01), judge.p99_within(1.5))
    foreseen = judge.lost_gateway_breaks_only_its_calls if service == "gateway" else judge.every_reply_is_foreseen
    return Case(
        f"sigstop-{service}",
        f"SIGSTOP of a {service} for 10 s",
        in_turn(_both(service), "stop", 50.0, 15.0),
        (*(strict if service == "retriever" else ()), foreseen, *ALWAYS),
        16.0 if service == "retriever" else 0.0,
    )


def _store(store: str, act: str, verb: str, short: float) -> Case:
    return Case(
        f"{verb}-{store}",
        f"{verb.upper()} of {store}" + (" for 10 s" if act == "stop" else ""),
        in_turn((store,), act, 30.0, 20.0),
        (judge.every_reply_is_foreseen, judge.back_within(10.0), *ALWAYS),
        short,
    )


SERVICES = ("gateway", "retriever", "generator", "ingestor")
CASES: tuple[Case, ...] = (
    _undisturbed(),
    *(_terminated(service) for service in SERVICES),
    *(_killed(service) for service in SERVICES[1:]),
    Case(
        "sigkill-gateway",
        "SIGKILL of each gateway in turn",
        in_turn(_both("gateway"), "kill", 5.0, 4.0),
        (judge.repeatable_calls_hold, judge.lost_gateway_breaks_only_its_calls, *ALWAYS),
    ),
    *(_stopped(service) for service in ("retriever", "generator", "ingestor", "gateway")),
    *(
        _store(store, "kill", "sigkill", 20.0 if store in {"redis-state", "milvus"} else 0.0)
        for store in ("redis-state", "redis-cache", "milvus")
    ),
    *(_store(store, "stop", "sigstop", 0.0) for store in ("redis-state", "redis-cache", "milvus")),
    *(_store(store, "terminate", "sigterm", 0.0) for store in ("redis-state", "redis-cache", "milvus")),
)
