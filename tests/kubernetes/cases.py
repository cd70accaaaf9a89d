"""The cases that are measured under load: what is done, and what must hold. The rules are those of the reliability
harness."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from kubernetes import certificates, scaling
from kubernetes.harm import CHANGED, SETTLE_SECONDS, Harm
from kubernetes.house import COMPONENTS, House
from reliability import judge
from reliability.judge import Gate, Rule

Inject = Callable[[Harm], None]

KNOWN_SECONDS = 35.0
"""After which all know the address of a new pod: a cluster's DNS answers with what it knew up to 30 s before. A
container that is killed comes back at the address that it had."""

QUICKLY = f"the next {SETTLE_SECONDS:g} s after its successor is ready"


@dataclass(frozen=True, slots=True)
class Case:
    """short_seconds: of load in the short set; 0 leaves it out. full_seconds: for at least 3,000 requests. changes: of
    the values, made before. after: what is looked at when the load is over."""

    name: str
    title: str
    inject: Inject
    rules: tuple[Rule, ...]
    short_seconds: float = 0.0
    full_seconds: float = 125.0
    questions_per_second: float = 20.0
    changes: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[House], None] | None = None
    after: Callable[[Harm], list[Gate]] | None = None
    knows_service: bool = False


UNNOTICED: tuple[Rule, ...] = (judge.nothing_fails, judge.no_stream_is_cut, judge.no_document_is_lost)
INNER_KILLED = (
    judge.repeatable_calls_hold, judge.streams_say_how_they_end, judge.every_reply_is_foreseen,
    judge.no_document_is_lost,
)  # fmt: skip
GATEWAY_KILLED = (judge.repeatable_calls_hold, judge.lost_gateway_breaks_only_its_calls, judge.no_document_is_lost)


def _nothing(harm: Harm) -> None:
    return


def _once(act: Callable[[Harm], None]) -> Inject:
    def inject(harm: Harm) -> None:
        time.sleep(SETTLE_SECONDS)
        act(harm)

    return inject


def _again(act: Callable[[Harm, int], None], room: float, pause: float = SETTLE_SECONDS) -> Inject:
    """With `pause` seconds in between, until less than `room` seconds of load are left."""

    def inject(harm: Harm) -> None:
        turn = 0
        while turn == 0 or time.monotonic() + room < harm.end:
            time.sleep(pause if turn else SETTLE_SECONDS)  # undisturbed load, in the time of the load itself
            act(harm, turn)
            turn += 1

    return inject


def _rolled(component: str) -> Case:
    return Case(
        f"restart-{component}",
        f"rolling restart of the {component}",
        _once(lambda harm: harm.restart(component)),
        (*UNNOTICED, judge.nothing_else_ends),
        110.0 if component == "retriever" else 0.0,
    )


def _killed(component: str) -> Case:
    return Case(
        f"kill-{component}",
        f"SIGKILL of one {component} after the other",
        _again(lambda harm, turn: harm.kill(component, turn), 50.0),
        GATEWAY_KILLED if component == "gateway" else INNER_KILLED,
        30.0 if component == "retriever" else 0.0,
    )


def _deleted(component: str, pause: float, name: str, pace: str, *, knows_service: bool = False) -> Case:
    return Case(
        name,
        f"a pod of the {component} deleted by force, {pace}",
        _again(lambda harm, _: harm.delete(component), max(30.0, pause + 10.0), pause),
        GATEWAY_KILLED if component == "gateway" else INNER_KILLED,
        knows_service=knows_service,
    )


CASES: tuple[Case, ...] = (
    Case("steady", "nothing happens", _nothing, (*UNNOTICED, judge.nothing_else_ends)),
    *(_rolled(component) for component in COMPONENTS),
    Case("drain", "`kubectl drain` of a node", _once(Harm.drain), UNNOTICED, 100.0, 150.0),
    Case(
        "upgrade",
        "`helm upgrade` of everything",
        _once(Harm.upgrade),
        (*UNNOTICED, judge.nothing_else_ends),
        0.0,
        180.0,
    ),
    Case(
        "rollback",
        "`helm rollback` of everything",
        _once(Harm.rollback),
        (*UNNOTICED, judge.nothing_else_ends),
        0.0,
        180.0,
        changes=CHANGED,
    ),
    *(_killed(component) for component in COMPONENTS),
    *(_deleted(c, KNOWN_SECONDS, f"delete-{c}", "the next when all know its successor") for c in COMPONENTS),
    *(_deleted(c, SETTLE_SECONDS, f"delete-{c}-quickly", QUICKLY) for c in COMPONENTS),
    _deleted(
        "gateway",
        SETTLE_SECONDS,
        "delete-gateway-quickly-service",
        f"{QUICKLY}, clients that know the Service",
        knows_service=True,
    ),
    Case(
        "autoscaling",
        "HorizontalPodAutoscaler of the retriever, up and down",
        scaling.up,
        UNNOTICED,
        changes=scaling.CHANGES,
        after=scaling.down,
    ),
    Case(
        "certificate",
        "the mesh's certificate is replaced",
        certificates.rotate,
        (*UNNOTICED, judge.nothing_else_ends),
        full_seconds=150.0,
        changes=certificates.CHANGES,
        prepare=certificates.first,
        after=certificates.expired,
    ),
)
