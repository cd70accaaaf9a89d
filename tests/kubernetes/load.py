"""What runs inside the cluster while a case is measured: `python -m kubernetes.load`, with its orders in LOAD_ORDERS.

Fills the collection when it is told to, sends the open loop of the reliability harness to the addresses of the
gateway's pods, and then looks for every acknowledged document. All that it has to say are JSON lines on stdout, each
with a `kind`: `subjects`, `begin`, `operation`, `documents`.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

import httpx

from reliability.documents import inspect
from reliability.house import subject_documents
from reliability.judge import read_operations
from support.openloop import Load
from support.openloop import run as run_load

LOG = Path("/tmp/operations.jsonl")
RESOLVE_SECONDS = 0.5
FILL_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Orders:
    """pods: the name of the headless Service of the gateways; service: that of the one with an address. subjects and
    jobs: empty to fill the collection first. seconds: 0 sends nothing. knows_service: clients go there when nobody is
    at the pods' addresses."""

    pods: str
    service: str
    collection: str
    label: str
    subjects: list[tuple[str, str]]
    jobs: list[str]
    seconds: float
    questions_per_second: float = 20.0
    reads_per_second: float = 4.0
    documents_per_second: float = 0.5
    grpc_port: int = 9090
    rest_port: int = 8080
    knows_service: bool = False


def say(kind: str, **what: Any) -> None:
    print(json.dumps({"kind": kind, **what}), flush=True)


def addresses(orders: Orders) -> list[str]:
    """The pods that answer REST now."""
    found = socket.getaddrinfo(orders.pods, orders.rest_port, socket.AF_INET, socket.SOCK_STREAM)
    return sorted({f"http://{sockaddr[0]}:{orders.rest_port}" for *_, sockaddr in found})


async def follow(orders: Orders, rest: list[str]) -> None:
    """Keep the list what DNS says; while it says nothing, the last answer stays."""
    while True:
        await asyncio.sleep(RESOLVE_SECONDS)
        with suppress(OSError):
            rest[:] = await asyncio.to_thread(addresses, orders)


def fill(orders: Orders, http: httpx.Client) -> tuple[list[tuple[str, str]], list[str]]:
    """Make the collection with its subjects, wait until they are READY; what is there already is kept."""
    subjects, documents = subject_documents()
    http.post("/v1/collections", json={"collection_id": orders.collection})  # there already: its batch says so too
    reply = http.post(
        f"/v1/collections/{orders.collection}/documents:batchCreate",
        json={"documents": documents, "batch_id": "subjects"},
    )
    if reply.status_code != 202:
        raise SystemExit(f"filling the collection: {reply.status_code} {reply.text}")
    jobs = [job["job_id"] for job in reply.json()["jobs"]]
    give_up_at = time.monotonic() + FILL_SECONDS
    for job in jobs:
        while (state := http.get(f"/v1/jobs/{job}").json()).get("state") != "READY":
            if time.monotonic() > give_up_at:
                raise SystemExit(f"a document did not become READY in {FILL_SECONDS:g} s: {state}")
            time.sleep(0.1)
    return subjects, jobs


async def send(orders: Orders, key: str, log: TextIO) -> None:
    """The open loop, with the list of gateways kept up to date beside it. Its first line is the time of its begin."""
    rest = addresses(orders)
    load = Load(
        [f"dns:///{orders.pods}:{orders.grpc_port}"], rest, key, orders.collection,
        [(name, word) for name, word in orders.subjects], orders.jobs, orders.label, str(LOG), orders.seconds,
        orders.questions_per_second, orders.reads_per_second, orders.documents_per_second,
        grpc_fallback=f"dns:///{orders.service}:{orders.grpc_port}" if orders.knows_service else "",
        rest_fallback=f"http://{orders.service}:{orders.rest_port}" if orders.knows_service else "",
    )  # fmt: skip
    following = asyncio.create_task(follow(orders, rest), name="load.addresses")
    try:
        await run_load(load, log)
    finally:
        following.cancel()


def main() -> int:
    key = os.environ["RAGMESH_KEY"]
    orders = Orders(**json.loads(os.environ["LOAD_ORDERS"]))
    base = f"http://{orders.service}:{orders.rest_port}"
    with httpx.Client(base_url=base, headers={"authorization": f"Bearer {key}"}, timeout=30, trust_env=False) as http:
        if not orders.subjects:
            subjects, jobs = fill(orders, http)
            say("subjects", subjects=subjects, jobs=jobs)
        if orders.seconds:
            with LOG.open("w", buffering=1) as log:
                asyncio.run(send(orders, key, log))
            operations = read_operations(LOG)
            for operation in operations:
                say("operation", **asdict(operation))
            say("documents", **asdict(inspect(http, orders.collection, operations)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
