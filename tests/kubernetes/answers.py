"""Asks about subjects and prints what came as one JSON line, for comparison: `python -m kubernetes.answers SERVICE`, in
the cluster. Searches with their documents and scores, answers with their texts and sources."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import httpx

from reliability.house import COLLECTION, subject_documents

ASKED = 25
PAGE = 200
DEEP = 50
DIGITS = 4
"""To which scores are the same: a store may add up in another order."""


def answers(service: str, key: str) -> dict[str, Any]:
    """Question -> what was found and answered. Raises httpx.HTTPStatusError."""
    subjects, _ = subject_documents()
    found: dict[str, Any] = {}
    with httpx.Client(
        base_url=f"http://{service}:8080", headers={"authorization": f"Bearer {key}"}, timeout=30, trust_env=False
    ) as http:
        for _, word in subjects[:: max(1, len(subjects) // ASKED)]:
            question = f"Where is the parcel with the seal {word} kept?"
            ask = http.post(f"/v1/collections/{COLLECTION}:ask", json={"question": question})
            ask.raise_for_status()
            found[question] = {
                "hits": hits(http, question),
                "dense": untied(hits(http, question, mode="DENSE", top_k=DEEP)),
                "bm25": untied(hits(http, question, mode="BM25", top_k=DEEP)),
                "answer": ask.json()["answer"],
                "sources": [source["hit"]["document_id"] for source in ask.json()["sources"]],
            }
        found["documents"] = documents(http)
    return found


def hits(http: httpx.Client, question: str, **options: Any) -> list[tuple[str, float]]:
    """Documents and scores, best first. Raises httpx.HTTPStatusError."""
    wanted = {"query": question, "strict": True, **options}
    reply = http.post(f"/v1/collections/{COLLECTION}:search", json=wanted)
    reply.raise_for_status()
    return [(hit["document_id"], round(hit["score"], DIGITS)) for hit in reply.json()["hits"]]


def untied(found: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """Those of one score by their ids, and without ids those of the last score, through which the list may be cut."""
    last = found[-1][1] if found else 0.0
    return sorted((("" if score == last else name, score) for name, score in found), key=lambda hit: (-hit[1], hit[0]))


def documents(http: httpx.Client) -> list[str]:
    """The ids of all. Raises httpx.HTTPStatusError."""
    ids: list[str] = []
    page: dict[str, Any] = {"page_size": PAGE}
    while True:
        reply = http.get(f"/v1/collections/{COLLECTION}/documents", params=page)
        reply.raise_for_status()
        ids += [document["document_id"] for document in reply.json()["documents"]]
        page["page_token"] = reply.json().get("next_page_token", "")
        if not page["page_token"]:
            return sorted(ids)


if __name__ == "__main__":
    print(json.dumps(answers(sys.argv[1], os.environ["RAGMESH_KEY"]), sort_keys=True))
