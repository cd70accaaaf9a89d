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
            search = http.post(f"/v1/collections/{COLLECTION}:search", json={"query": question, "strict": True})
            search.raise_for_status()
            ask = http.post(f"/v1/collections/{COLLECTION}:ask", json={"question": question})
            ask.raise_for_status()
            found[question] = {
                "hits": [(hit["document_id"], round(hit["score"], DIGITS)) for hit in search.json()["hits"]],
                "answer": ask.json()["answer"],
                "sources": [source["hit"]["document_id"] for source in ask.json()["sources"]],
            }
        found["documents"] = documents(http)
    return found


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
