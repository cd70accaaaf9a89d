"""Writes the measured figures into docs/kubernetes.md: `python -m kubernetes.report .kubernetes/full`.

Between the two marks of the document stands what this makes of the result files, and nothing else; `--check` only says
whether the document is what the files say.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kubernetes.run import EVERYTHING
from reliability.judge import Documents, Evidence, no_document_is_lost, nothing_fails
from reliability.report import BEGIN, END
from reliability.result import Result, read_result

HEAD = "| case | requests | whole / partial / typed / broken | p50 / p99 | documents | besides |"
RULE = "|---|---|---|---|---|---|"
ABOUT = """Two nodes on one machine of 2 cores, two Pods of each component, Neo4j, milvus-lite over TCP and two Redis in
the cluster, a scripted model. Load comes from a Pod to the addresses of the gateway's Pods: 20 questions a second
(searches, answers, streams), 4 reads and every other second a document, at fixed times. What the columns mean is in
[reliability.md](reliability.md). A p99 of 2 s and more has two causes: new Pods start on the two cores that also serve,
hold the stores and make the load; and a REST client of the load waits 2 s for the address of a Pod that is gone, which
DNS still names for up to 30 s, before it takes another. `make test-kubernetes-full` measures all, and with
`CASE=<case>` one; `PYTHONPATH=tests .venv/bin/python -m kubernetes.report .kubernetes/full` writes this."""

SHOWN = {rule(Evidence([], [], Documents(0), 0.0)).promise for rule in (nothing_fails, no_document_is_lost)}
"""Promises that columns of the table speak of: nothing typed and nothing broken, all documents."""


def said(gate: dict[str, Any]) -> str:
    """A gate in words; one that was missed says so."""
    return f"{'' if gate['held'] else '**missed** '}{gate['promise']}: {gate['measured']}"


def row(result: Result) -> str:
    """One line of the table."""
    count = result.verdicts.get
    other = sum(count(verdict, 0) for verdict in ("broken", "cut", "late", "wrong"))
    documents = result.documents
    kept = documents["acknowledged"] - len(documents["lost"]) - len(documents["doubled"])
    cells = [
        f"`{result.name}` {result.title}",
        f"{result.requests:,}",
        f"{count('answer', 0):,} / {count('degraded', 0)} / {count('typed', 0)} / {other}",
        f"{result.p50_ms:.0f} / {result.p99_ms:,.0f} ms",
        f"{kept} of {documents['acknowledged']}",
        "; ".join(said(gate) for gate in result.gates if gate["promise"] not in SHOWN or not gate["held"]),
    ]
    return f"| {' | '.join(cells)} |"


def paragraph(result: Result) -> str:
    """A case without load: a line for each promise."""
    return "\n".join([f"`{result.name}`: {result.title}", "", *(f"- {said(gate)}" for gate in result.gates)])


def written(results: Sequence[Result]) -> str:
    """All that stands between the marks, in the order of the cases."""
    order = {case.name: place for place, case in enumerate(EVERYTHING)}
    sorted_results = sorted(results, key=lambda r: order.get(r.name, len(order)))
    rows = [row(result) for result in sorted_results if result.requests]
    rest = [paragraph(result) for result in sorted_results if not result.requests]
    return "\n\n".join([ABOUT, "\n".join([HEAD, RULE, *rows]), *rest])


def main() -> int:
    parser = argparse.ArgumentParser(description="Measured figures into the document.")
    parser.add_argument("results", type=Path)
    parser.add_argument("--document", type=Path, default=Path("docs/kubernetes.md"))
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    results = [read_result(path) for path in arguments.results.glob("*/result.json")]
    if not results:
        parser.error(f"no result files in {arguments.results}")
    text = arguments.document.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    made = f"{before}{BEGIN}\n\n{written(results)}\n\n{END}{after}"
    if arguments.check:
        return 0 if made == text else 1
    arguments.document.write_text(made)
    return 0


if __name__ == "__main__":
    sys.exit(main())
