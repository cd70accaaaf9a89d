"""Whether each acknowledged document arrived: READY, listed, and found exactly once by a word that only it holds."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import httpx

from reliability.judge import Documents
from support.openloop_operation import Ask, Operation, seal

SETTLE_SECONDS = 90.0
WHOLE_AGAIN_SECONDS = 15.0
"""For a strict search to be answered after the fault is over: the case's own gate says what is promised."""

END_STATES = {"READY", "DEAD_LETTERED", "CANCELLED"}


def inspect(rest: httpx.Client, collection: str, operations: Iterable[Operation]) -> Documents:
    """Wait for the jobs that were accepted and look for their documents."""
    accepted = [o for o in operations if o.ask is Ask.DOCUMENT and o.code == "OK"]
    give_up_at = time.monotonic() + SETTLE_SECONDS
    lost, doubled, slowest = [], [], 0.0
    for operation in accepted:
        job = _final(rest, operation.accepted_job, give_up_at)
        if job.get("state") != "READY":
            lost.append(f"{operation.tag}: {job.get('state', job)}")
            continue
        slowest = max(slowest, _seconds(job))
        times = _times_found(rest, collection, operation.tag)
        if times == 0:
            lost.append(f"{operation.tag}: READY but not found")
        elif times > 1:
            doubled.append(operation.tag)
    return Documents(len(accepted), tuple(lost), tuple(doubled), round(slowest, 2))


def _final(rest: httpx.Client, job_id: str, give_up_at: float) -> dict[str, Any]:
    while True:
        reply = rest.get(f"/v1/jobs/{job_id}")
        job: dict[str, Any] = reply.json()
        if reply.status_code == 404 or job.get("state") in END_STATES or time.monotonic() > give_up_at:
            return job
        time.sleep(0.1)


def _times_found(rest: httpx.Client, collection: str, document: str) -> int:
    """How many chunks are found for the document, whose text is one chunk; 0 also when the search does not find it
    first, 2 also when its pages list it twice."""
    search = {"query": seal(document), "top_k": 20, "max_per_document": 20, "strict": True}
    give_up_at = time.monotonic() + WHOLE_AGAIN_SECONDS
    while (reply := rest.post(f"/v1/collections/{collection}:search", json=search)).status_code != 200:
        assert time.monotonic() < give_up_at, reply.text
        time.sleep(0.1)
    hits = reply.json()["hits"]
    mine = [hit for hit in hits if hit["document_id"] == document]
    if not mine or hits[0]["document_id"] != document:
        return 0
    chunks = rest.get(f"/v1/collections/{collection}/documents/{document}:chunks").json().get("chunks", [])
    return max(len(mine), len(chunks))


def _seconds(job: dict[str, Any]) -> float:
    created, updated = (datetime.fromisoformat(job[name]) for name in ("create_time", "update_time"))
    return (updated - created).total_seconds()
