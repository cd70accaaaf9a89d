"""Writes the measured figures into docs/reliability.md: `python -m reliability.report .reliability/full`.

Between the two marks of the document stands what this makes of the result files, and nothing else; `--check` only says
whether the document is what the files say.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from reliability.result import Result, read_result
from reliability.run import ALL

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
HEAD = "| case | requests | whole / partial / typed / broken | p50 / p99 | documents | promised: seen |"


def row(result: Result) -> str:
    """One line of the table."""
    count = result.verdicts.get
    other = sum(count(name, 0) for name in ("broken", "cut", "late", "wrong"))
    verdicts = f"{count('answer', 0)} / {count('degraded', 0)} / {count('typed', 0)} / {other}"
    documents = result.documents
    kept = documents["acknowledged"] - len(documents["lost"]) - len(documents["doubled"])
    gates = "; ".join(f"{'' if g['held'] else '**missed** '}{g['promise']}: {g['measured']}" for g in result.gates[:-2])
    times = f"{result.p50_ms:.0f} / {result.p99_ms:.0f} ms"
    found = f"{kept} of {documents['acknowledged']}"
    return f"| `{result.name}` {result.title} | {result.requests} | {verdicts} | {times} | {found} | {gates} |"


def table(results: Sequence[Result]) -> str:
    """The whole table, in the order of the cases."""
    order = {case.name: place for place, case in enumerate(ALL)}
    rows = [row(result) for result in sorted(results, key=lambda r: order.get(r.name, len(order)))]
    return "\n".join([HEAD, "|---|---|---|---|---|---|", *rows])


def main() -> int:
    parser = argparse.ArgumentParser(description="Measured figures into the document.")
    parser.add_argument("results", type=Path)
    parser.add_argument("--document", type=Path, default=Path("docs/reliability.md"))
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    results = [read_result(path) for path in arguments.results.glob("*/result.json")]
    if not results:
        parser.error(f"no result files in {arguments.results}")
    text = arguments.document.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    written = f"{before}{BEGIN}\n\n{table(results)}\n\n{END}{after}"
    if arguments.check:
        return 0 if written == text else 1
    arguments.document.write_text(written)
    return 0


if __name__ == "__main__":
    sys.exit(main())
