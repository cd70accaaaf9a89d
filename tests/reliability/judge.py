"""What came of a case: each operation's verdict, figures over all of them, and gates that hold or do not."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from support.faults import Fault
from support.openloop_operation import DEADLINE_SECONDS, REPEATABLE, Ask, Operation, Surface

ALLOWED_CODES = {"UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"}
"""What a fault of ours may be called. INTERNAL is not: it says that nobody foresaw it."""

SEARCHED = {Ask.SEARCH, Ask.ASK, Ask.STREAM}
STREAM_END_SECONDS = 1.0
TOLERANCE_SECONDS = 0.3
"""How much later than its deadline an error may be seen by a client that shares the machine's cores."""


class Verdict(StrEnum):
    """ANSWER: complete and right. DEGRADED: an answer that says what is missing. TYPED: an error of the mesh with a
    reason, in time. BROKEN: the client had to make up what happened. CUT: a stream that ended without saying how.
    LATE: nothing until the deadline. WRONG: an answer without the document it must use, or an error of a kind that is
    not allowed."""

    ANSWER = "answer"
    DEGRADED = "degraded"
    TYPED = "typed"
    BROKEN = "broken"
    CUT = "cut"
    LATE = "late"
    WRONG = "wrong"


def verdict(operation: Operation) -> Verdict:
    """How one operation ended."""
    if operation.code == "OK":
        if operation.ask is Ask.STREAM and operation.last != "done":
            return Verdict.CUT
        missing = set(operation.degraded) - {"MODEL"}
        if operation.ask in SEARCHED and not missing and not operation.found:
            return Verdict.WRONG
        return Verdict.DEGRADED if operation.degraded else Verdict.ANSWER
    if operation.code == "DEADLINE_EXCEEDED" and not operation.typed:
        return Verdict.LATE
    if not operation.typed:
        return Verdict.BROKEN
    if operation.end - operation.start > DEADLINE_SECONDS[operation.ask] + TOLERANCE_SECONDS:
        return Verdict.LATE
    return Verdict.TYPED if operation.code in ALLOWED_CODES else Verdict.WRONG


GOOD = {Verdict.ANSWER, Verdict.DEGRADED}


@dataclass(frozen=True, slots=True)
class Documents:
    """What became of the acknowledged documents. slowest_seconds: from acceptance to READY."""

    acknowledged: int
    lost: tuple[str, ...] = ()
    doubled: tuple[str, ...] = ()
    slowest_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that a gate may look at. begin: when the load began. restarts: of processes, beyond those that were hit.
    model_calls: per tag."""

    operations: Sequence[Operation]
    faults: Sequence[Fault]
    documents: Documents
    begin: float
    unasked_restarts: int = 0
    model_calls: Counter[str] = field(default_factory=Counter)

    def failed(self, wanted: Callable[[Operation], bool] = lambda _: True) -> list[Operation]:
        return [o for o in self.operations if wanted(o) and verdict(o) not in GOOD]


@dataclass(frozen=True, slots=True)
class Gate:
    """One promise of a case, whether it held, and what was measured."""

    promise: str
    held: bool
    measured: str


Rule = Callable[[Evidence], Gate]


def _count(promise: str, bad: Sequence[object], of: int) -> Gate:
    return Gate(promise, not bad, f"{len(bad)} of {of}")


def nothing_fails(evidence: Evidence) -> Gate:
    return _count("no request fails", evidence.failed(), len(evidence.operations))


def no_stream_is_cut(evidence: Evidence) -> Gate:
    streams = [o for o in evidence.operations if o.ask is Ask.STREAM]
    return _count("no stream is cut", [o for o in streams if verdict(o) not in GOOD], len(streams))


def repeatable_calls_hold(evidence: Evidence) -> Gate:
    calls = [o for o in evidence.operations if o.ask in REPEATABLE]
    return _count("no repeatable call fails", [o for o in calls if verdict(o) not in GOOD], len(calls))


def streams_say_how_they_end(evidence: Evidence) -> Gate:
    """A stream that fails ends with a typed error within a second of the fault, or of its own begin."""
    failed = [o for o in evidence.operations if o.ask is Ask.STREAM and verdict(o) not in GOOD]
    bad, slowest = [], 0.0
    for operation in failed:
        since = max([operation.start, *(f.at for f in evidence.faults if f.at <= operation.end)])
        slowest = max(slowest, operation.end - since)
        if verdict(operation) is not Verdict.TYPED or operation.end - since > STREAM_END_SECONDS:
            bad.append(operation)
    measured = f"{len(bad)} of {len(failed)} that failed; slowest {slowest:.2f} s"
    return Gate("a stream that fails ends with a typed error within 1 s", not bad, measured)


def every_reply_is_foreseen(evidence: Evidence) -> Gate:
    allowed = {*GOOD, Verdict.TYPED}
    bad = [o for o in evidence.operations if verdict(o) not in allowed]
    promise = "every reply is an answer, a declared partial answer or one typed error within its deadline"
    return _count(promise, bad, len(evidence.operations))


def lost_gateway_breaks_only_its_calls(evidence: Evidence) -> Gate:
    """When a gateway dies or hangs, a call that must not be repeated may end as a broken connection."""
    allowed = {*GOOD, Verdict.TYPED, Verdict.BROKEN}
    bad = [o for o in evidence.operations if verdict(o) not in allowed]
    return _count("nothing hangs, nothing is wrong", bad, len(evidence.operations))


def at_most_failed(share: float) -> Rule:
    def rule(evidence: Evidence) -> Gate:
        failed, total = len(evidence.failed()), len(evidence.operations)
        return Gate(f"at most {share:.0%} fail", failed <= share * total, f"{failed} of {total}")

    return rule


def p99_within(seconds: float) -> Rule:
    def rule(evidence: Evidence) -> Gate:
        found = percentile(latencies(evidence.operations), 0.99)
        return Gate(f"p99 at most {seconds:g} s", found <= seconds, f"{found:.2f} s")

    return rule


def back_within(seconds: float) -> Rule:
    """Of the hit process being back: from then on every answer is whole. What was in flight when the next was hit, is
    the next one's."""

    def rule(evidence: Evidence) -> Gate:
        worst = 0.0
        for index, fault in enumerate(evidence.faults):
            following = evidence.faults[index + 1].at if index + 1 < len(evidence.faults) else float("inf")
            hurt = [
                o.intended
                for o in evidence.operations
                if fault.back <= o.intended and o.end < following and verdict(o) is not Verdict.ANSWER
            ]
            worst = max([worst, *(at - fault.back for at in hurt)])
        return Gate(f"whole answers within {seconds:g} s of its return", worst <= seconds, f"{worst:.1f} s")

    return rule


def no_document_is_lost(evidence: Evidence) -> Gate:
    documents = evidence.documents
    measured = f"{len(documents.lost)} lost, {len(documents.doubled)} doubled of {documents.acknowledged}"
    held = not documents.lost and not documents.doubled
    return Gate("every acknowledged document is READY and found once", held, measured)


def nothing_else_ends(evidence: Evidence) -> Gate:
    count = evidence.unasked_restarts
    return Gate("no process ends but those that were hit", count == 0, f"{count} restarts")


def one_model_call_each(evidence: Evidence) -> Gate:
    more = [tag for tag, count in evidence.model_calls.items() if count > 1]
    return _count("one call to the model for each question", more, len(evidence.model_calls))


def latencies(operations: Iterable[Operation]) -> list[float]:
    """Seconds from the intended send to the reply, of a stream to its first event, of those that did not fail."""
    good = (o for o in operations if verdict(o) in GOOD)
    return sorted((o.first if o.ask is Ask.STREAM else o.end) - o.intended for o in good)


def percentile(ordered: Sequence[float], share: float) -> float:
    """Nearest rank; 0 of nothing."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def read_operations(path: Path) -> list[Operation]:
    """The log of the load generator."""
    operations = []
    for line in path.read_text().splitlines():
        operation = Operation(**json.loads(line))
        operation.ask, operation.surface = Ask(operation.ask), Surface(operation.surface)
        operations.append(operation)
    return sorted(operations, key=lambda o: o.number)
