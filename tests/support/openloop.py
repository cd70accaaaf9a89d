"""An open-loop load generator: operations leave at a fixed rate whether or not earlier ones have been answered.

It runs in a process of its own (`python -m support.openloop CONFIG.json`), so that nothing else delays its clock, and
writes one JSON line for each operation. Latency counts from the moment at which an operation was due (`intended`), not
from when it could be sent, so that a server which stops the client for a while does not hide its own delay. Times are
seconds of CLOCK_MONOTONIC, which all processes of a machine share. The first line on stdout is the time at which the
load begins.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TextIO

import uvloop

from support.openloop_grpc import GrpcUser
from support.openloop_operation import Ask, Operation, Surface, tag_of
from support.openloop_rest import RestUser

QUESTIONS: dict[tuple[Ask, Surface], float] = {
    (Ask.SEARCH, Surface.GRPC): 0.30,
    (Ask.ASK, Surface.GRPC): 0.20,
    (Ask.STREAM, Surface.GRPC): 0.15,
    (Ask.SEARCH, Surface.REST): 0.15,
    (Ask.ASK, Surface.REST): 0.10,
    (Ask.STREAM, Surface.REST): 0.10,
}
READS = (
    (Ask.COLLECTION, Surface.GRPC),
    (Ask.DOCUMENTS, Surface.GRPC),
    (Ask.JOB, Surface.GRPC),
    (Ask.JOB, Surface.REST),
)
LEAD_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Load:
    """What to send, where, for how long. grpc and rest: the addresses of all gateways, in one order; grpc may also be
    one `dns:///name:port`. grpc_fallback, rest_fallback: an address behind which somebody is when nobody is at those.

    subjects: the documents that questions are about, as (document id, a word that only it holds); they are READY.
    jobs: ids of jobs that exist. label: unique for each run, from which the tags of its operations are made.
    """

    grpc: list[str]
    rest: list[str]
    key: str
    collection: str
    subjects: list[tuple[str, str]]
    jobs: list[str]
    label: str
    log: str
    seconds: float
    questions_per_second: float = 30.0
    reads_per_second: float = 6.0
    documents_per_second: float = 1.0
    seed: int = 1
    kinds: list[str] = field(default_factory=list)  # only these kinds of questions; empty: all
    grpc_fallback: str = ""
    rest_fallback: str = ""

    def write(self, path: Path) -> Path:
        path.write_text(json.dumps(asdict(self)))
        return path


def schedule(load: Load) -> Iterator[tuple[float, Ask, Surface]]:
    """When (seconds from the begin) what is due, in order."""
    chance = random.Random(load.seed)
    kinds = {k: w for k, w in QUESTIONS.items() if not load.kinds or k[0] in load.kinds}

    def due(rate: float, offset: float) -> Iterator[float]:
        return (offset + n / rate for n in range(round(load.seconds * rate))) if rate > 0 else iter(())

    questions = [
        (at, *chance.choices(list(kinds), list(kinds.values()))[0]) for at in due(load.questions_per_second, 0.0)
    ]
    reads = [(at, *READS[n % len(READS)]) for n, at in enumerate(due(load.reads_per_second, 0.011))]
    surfaces = itertools.cycle((Surface.GRPC, Surface.REST))
    documents = [(at, Ask.DOCUMENT, next(surfaces)) for at in due(load.documents_per_second, 0.507)]
    return iter(sorted([*questions, *reads, *documents]))


async def run(load: Load, log: TextIO) -> None:
    """Send everything and wait for every answer; each operation has a deadline of its own."""
    chance = random.Random(load.seed + 1)
    async with (
        GrpcUser(load.grpc, load.key, load.collection, load.grpc_fallback) as grpc,
        RestUser(load.rest, load.key, load.collection, load.rest_fallback) as rest,
    ):
        await asyncio.gather(grpc.warm(load.jobs[0]), rest.warm(load.jobs[0]))
        begin = time.monotonic() + LEAD_SECONDS
        print(begin, flush=True)
        running: set[asyncio.Task[None]] = set()

        async def one(operation: Operation) -> None:
            await (grpc if operation.surface is Surface.GRPC else rest).do(operation)
            log.write(operation.line() + "\n")

        for number, (offset, ask, surface) in enumerate(schedule(load)):
            await asyncio.sleep(max(0.0, begin + offset - time.monotonic()))
            subject, word = chance.choice(load.subjects)
            operation = Operation(
                number,
                ask,
                surface,
                begin + offset,
                tag_of(load.label, number),
                subject,
                word,
                chance.choice(load.jobs),
            )
            task = asyncio.create_task(one(operation), name=f"operation-{number}")
            running.add(task)
            task.add_done_callback(running.discard)
        await asyncio.gather(*running)


def main() -> int:
    load = Load(**json.loads(Path(sys.argv[1]).read_text()))
    with Path(load.log).open("w", buffering=1) as log, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(load, log))
    return 0


if __name__ == "__main__":
    sys.exit(main())
