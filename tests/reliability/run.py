"""Runs the cases: `python -m reliability.run --set short`, with tests/ on PYTHONPATH.

One mesh for all cases of a run. For each case a line is printed and a JSON file with everything that was measured is
written; the exit code is 1 when a gate did not hold. `--case NAME` (again and again) chooses, `--list` shows the names.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
import time
from pathlib import Path

from ragmesh_backends.embeddings import cache
from reliability.cases import CASES, Case
from reliability.documents import inspect
from reliability.house import COLLECTION, House, open_house
from reliability.judge import Evidence, read_operations
from reliability.model_cases import MODEL_CASES
from reliability.result import Result, make_result
from reliability.store_cases import STORE_CASES
from reliability.stores import ProxiedStores, proxied_stores
from support.openloop import Load

TESTS = Path(__file__).parents[1]
ALL = (*CASES, *MODEL_CASES, *STORE_CASES)
AFTER_LOAD_SECONDS = 45.0
"""The longest deadline of an operation, and some room."""


async def run_case(house: House, case: Case, seconds: float, out: Path) -> Result:
    """The load with the harm in it, then the verdict."""
    house.model.forget()
    house.faults.log.clear()
    restarts = _restarts(house)
    folder = out / case.name
    folder.mkdir(parents=True, exist_ok=True)
    label = f"{case.name}-{os.getpid()}-{int(time.monotonic())}"
    load = Load(
        house.grpc, house.rest, house.mesh.key, COLLECTION, house.subjects, house.jobs, label,
        str(folder / "operations.jsonl"), seconds,
    )  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "support.openloop", str(load.write(folder / "load.json")),
        env=_environment(), stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        async with asyncio.timeout(30):
            begin = float(await process.stdout.readline())
        async with asyncio.timeout(seconds + 180):
            await case.inject(house, begin + seconds)
        async with asyncio.timeout(max(0.0, begin + seconds - time.monotonic()) + AFTER_LOAD_SECONDS):
            code = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
    if code != 0:
        raise RuntimeError(f"the load generator ended with code {code}")
    await house.faults.all_ready()
    operations = read_operations(folder / "operations.jsonl")
    with house.mesh.rest() as rest:
        documents = await asyncio.to_thread(inspect, rest, COLLECTION, operations)
    hit = sum(fault.signal in {"SIGTERM", "SIGKILL"} for fault in house.faults.log)
    evidence = Evidence(
        operations, list(house.faults.log), documents, begin, _restarts(house) - restarts - hit, house.model.calls()
    )
    result = make_result(case.name, case.title, [rule(evidence) for rule in case.rules], evidence)
    (folder / "result.json").write_text(result.to_json())
    return result


def _environment() -> dict[str, str]:
    path = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(TESTS), path)))}


def _restarts(house: House) -> int:
    return sum(int(entry["restarts"]) for entry in house.mesh.state()["processes"])


async def run(cases: list[tuple[Case, float]], models: Path, out: Path) -> bool:
    """All of them: on one mesh, and on another those that need its stores behind proxies. True when every gate held."""
    proxied = [chosen for chosen in cases if chosen[0] in STORE_CASES]
    plain = [chosen for chosen in cases if chosen not in proxied]
    held = not plain or await _run_on(None, plain, models, out)
    if proxied:
        async with proxied_stores() as stores:
            held = await _run_on(stores, proxied, models, out) and held
    return held


async def _run_on(stores: ProxiedStores | None, cases: list[tuple[Case, float]], models: Path, out: Path) -> bool:
    held = True
    print(f"starting two of everything{', the stores behind proxies' if stores else ''}", flush=True)
    async with open_house(models, stores) as house:
        try:
            for case, seconds in cases:
                result = await run_case(house, case, seconds, out)
                print(result.line(), flush=True)
                held = held and result.held
        finally:
            await asyncio.to_thread(_keep_logs, house.mesh.home, out / ("logs-proxied" if stores else "logs"))
    return held


def _keep_logs(home: Path, out: Path) -> None:
    shutil.copytree(home / "logs", out, dirs_exist_ok=True)
    shutil.copy(home / "up.log", out)


def main() -> int:
    parser = argparse.ArgumentParser(description="Faults under load, and what must hold.")
    parser.add_argument("--set", choices=("short", "full"), default="short", dest="which")
    parser.add_argument("--case", action="append", default=[], help="only this one (may be given again)")
    parser.add_argument("--seconds", type=float, default=0.0, help="the length of each case")
    parser.add_argument("--out", type=Path, default=Path(".reliability"), help="where results are written")
    parser.add_argument("--models", type=Path, default=Path(".pytest_cache/d/embedding-graph"))
    parser.add_argument("--list", action="store_true", help="show the cases")
    arguments = parser.parse_args()
    if arguments.list:
        for case in ALL:
            print(f"{case.name:24} {case.short_seconds:5g} {case.full_seconds:5g}  {case.title}")
        return 0
    unknown = set(arguments.case) - {case.name for case in ALL}
    if unknown:
        parser.error(f"no such case: {', '.join(sorted(unknown))} (see --list)")
    chosen = []
    for case in ALL:
        length = case.full_seconds if arguments.which == "full" else case.short_seconds
        if (case.name in arguments.case) if arguments.case else length:
            chosen.append((case, arguments.seconds or length or 14.0))
    models = arguments.models.absolute()
    models.mkdir(parents=True, exist_ok=True)
    cache.fill(models)
    return 0 if asyncio.run(run(chosen, models, arguments.out / arguments.which)) else 1


if __name__ == "__main__":
    sys.exit(main())
