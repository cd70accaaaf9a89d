"""The result of one case: written as JSON, printed as a line, read again for the document."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from reliability.judge import GOOD, Evidence, Gate, latencies, percentile, verdict

EXAMPLES = 12


@dataclass(frozen=True, slots=True)
class Result:
    """Times in milliseconds unless named. client_late_p99_ms: how late the load generator itself sent; figures of a run
    in which that is large tell about the machine. failures: some of them, as they were logged."""

    name: str
    title: str
    held: bool
    requests: int
    verdicts: dict[str, int]
    p50_ms: float
    p99_ms: float
    client_late_p99_ms: float
    gates: list[dict[str, Any]]
    documents: dict[str, Any]
    faults: list[dict[str, Any]]
    failures: list[dict[str, Any]]
    failed_by: dict[str, int]

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)

    def line(self) -> str:
        """For people: the case, its figures, the gates that did not hold."""
        verdicts = ", ".join(f"{count} {name}" for name, count in self.verdicts.items())
        mark = "ok  " if self.held else "FAIL"
        head = f"{mark} {self.name:22} {self.requests:5} requests ({verdicts}), p50 {self.p50_ms:.0f} ms, "
        tail = f"p99 {self.p99_ms:.0f} ms, client late {self.client_late_p99_ms:.0f} ms"
        missed = [f"\n       {gate['promise']}: {gate['measured']}" for gate in self.gates if not gate["held"]]
        return head + tail + "".join(missed)


def make_result(name: str, title: str, gates: Sequence[Gate], evidence: Evidence) -> Result:
    """Everything that a reader of the figures may want."""
    operations = evidence.operations
    found = latencies(operations)
    late = sorted(o.start - o.intended for o in operations)
    failed = [o for o in operations if verdict(o) not in GOOD]
    return Result(
        name=name,
        title=title,
        held=all(gate.held for gate in gates),
        requests=len(operations),
        verdicts=dict(sorted(Counter(str(verdict(o)) for o in operations).items())),
        p50_ms=round(percentile(found, 0.5) * 1000, 1),
        p99_ms=round(percentile(found, 0.99) * 1000, 1),
        client_late_p99_ms=round(percentile(late, 0.99) * 1000, 1),
        gates=[asdict(gate) for gate in gates],
        documents=asdict(evidence.documents),
        faults=[
            {"name": f.name, "signal": f.signal, "at": round(f.at - evidence.begin, 3)}
            | {"gone_after": round(f.gone - f.at, 3), "back_after": round(f.back - f.at, 3)}
            for f in evidence.faults
        ],
        failures=[
            {
                "at": round(o.intended - evidence.begin, 3),
                "seconds": round(o.end - o.start, 3),
                **{k: v for k, v in asdict(o).items() if k in _SHOWN},
                "verdict": str(verdict(o)),
            }
            for o in failed[:EXAMPLES]
        ],
        failed_by=dict(Counter(f"{o.surface} {o.ask} {o.code} {o.reason} {o.detail[:80]}".strip() for o in failed)),
    )


_SHOWN = {
    "ask",
    "surface",
    "code",
    "reason",
    "typed",
    "detail",
    "gateway",
    "attempts",
    "degraded",
    "events",
    "last",
    "tag",
}


def read_result(path: Path) -> Result:
    """What a run wrote."""
    return Result(**json.loads(path.read_text()))
