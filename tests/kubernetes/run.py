"""Runs the cases: `python -m kubernetes.run --set short`, with tests/ on PYTHONPATH (`make test-kubernetes`).

The release is installed once, into namespaces of its own, and the cases run one after the other: those of cases.py
under load, those of checks.py without. For each a line is printed and a JSON file with everything that was measured is
written; the exit code is 1 when a gate did not hold. `--case NAME` (again and again) chooses, `--list` shows the names,
`--keep` leaves the namespaces for the next run.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from pathlib import Path

from kubernetes import cluster
from kubernetes.cases import CASES, Case
from kubernetes.checks import CHECKS, Check
from kubernetes.harm import Harm
from kubernetes.house import House
from reliability.judge import Documents, Evidence, Gate
from reliability.result import Result, make_result

EVERYTHING: tuple[Case | Check, ...] = (*CHECKS[:1], *CASES, *CHECKS[1:])
"""In the order in which they run: the first installs."""


def run_case(house: House, case: Case, seconds: float) -> Result:
    """The load with the harm in it, then the verdict."""
    if case.prepare:
        case.prepare(house)
    if case.changes:
        house.upgrade(case.changes)
        house.settled()  # helm waits for new pods only, and old ones may not know what these do
    before = house.restarts()
    with house.load(case.name, seconds, case.questions_per_second, knows_service=case.knows_service) as loaded:
        harm = Harm(house, loaded.begin + seconds)
        case.inject(harm)
    hit = sum(fault.signal == "SIGKILL" for fault in harm.log)
    unasked = max(0, house.restarts() - before - hit)
    evidence = Evidence(loaded.operations, harm.log, loaded.documents, loaded.begin, unasked)
    gates = [rule(evidence) for rule in case.rules]
    over = max((fault.back for fault in harm.log), default=loaded.begin)
    if harm.log:
        gates.append(Gate("the harm was over before the load", over <= harm.end, f"{over - loaded.begin:.0f} s"))
    gates += [Gate("seen", held=True, measured=note) for note in harm.notes]
    if case.after:
        gates += case.after(harm)
    if case.changes:
        house.upgrade()
    house.all_ready()
    return make_result(case.name, case.title, gates, evidence)


def run_check(house: House, check: Check) -> Result:
    """A case without load: its gates."""
    return make_result(check.name, check.title, check.look(house), Evidence([], [], Documents(0), 0.0))


def run_one(house: House, case: Case | Check, seconds: float) -> Result:
    """A case that cannot be carried out is one that did not hold."""
    try:
        return run_case(house, case, seconds) if isinstance(case, Case) else run_check(house, case)
    except (AssertionError, OSError, KeyError, ValueError) as error:
        traceback.print_exc()
        gate = Gate("it can be carried out", held=False, measured=str(error)[:500])
        return make_result(case.name, case.title, [gate], Evidence([], [], Documents(0), 0.0))


def run(chosen: list[tuple[Case | Check, float]], out: Path, *, keep: bool) -> bool:
    """All of them on one release. True when every gate held."""
    cluster.load_images()
    house = House(out)
    held = True
    print("stores", flush=True)
    house.prepare()
    try:
        for case, seconds in chosen:
            if not isinstance(case, Check) or case.needs_release:
                open_house(house, fill=isinstance(case, Case) or case.needs_release)
            result = run_one(house, case, seconds)
            folder = out / case.name
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "result.json").write_text(result.to_json())
            print(result.line() if result.requests else line(result), flush=True)
            held = held and result.held
    finally:
        if not keep:
            house.remove()
    return held


def open_house(house: House, *, fill: bool) -> None:
    """Install, or bring what is there to what the chart is now, once; and put the subjects in."""
    if not house.current:
        print(f"installed in {house.upgrade():.0f} s", flush=True)
        house.all_ready()
        house.current = True
    if fill and not house.subjects:
        house.fill()


def line(result: Result) -> str:
    gates = "".join(f"\n       {'' if g['held'] else 'MISSED '}{g['promise']}: {g['measured']}" for g in result.gates)
    return f"{'ok  ' if result.held else 'FAIL'} {result.name:22} {result.title}{gates}"


def main() -> int:
    parser = argparse.ArgumentParser(description="The mesh on a real cluster, and what must hold.")
    parser.add_argument("--set", choices=("short", "full"), default="short", dest="which")
    parser.add_argument("--case", action="append", default=[], help="only this one (may be given again)")
    parser.add_argument("--seconds", type=float, default=0.0, help="the length of each load")
    parser.add_argument("--out", type=Path, default=Path(".kubernetes"), help="where results are written")
    parser.add_argument("--keep", action="store_true", help="leave the namespaces as they are at the end")
    parser.add_argument("--list", action="store_true", help="show the cases")
    arguments = parser.parse_args()
    if arguments.list:
        for case in EVERYTHING:
            print(f"{case.name:20} {case.short_seconds:5g} {case.full_seconds:5g}  {case.title}")
        return 0
    unknown = set(arguments.case) - {case.name for case in EVERYTHING}
    if unknown:
        parser.error(f"no such case: {', '.join(sorted(unknown))} (see --list)")
    if reason := cluster.missing():
        print(f"The tests on Kubernetes cannot run: {reason}. They are skipped.")
        return 0
    chosen: list[tuple[Case | Check, float]] = []
    for case in EVERYTHING:
        length = case.full_seconds if arguments.which == "full" else case.short_seconds
        if (case.name in arguments.case) if arguments.case else length:
            chosen.append((case, arguments.seconds or length or 60.0))
    return 0 if run(chosen, arguments.out / arguments.which, keep=arguments.keep) else 1


if __name__ == "__main__":
    sys.exit(main())
