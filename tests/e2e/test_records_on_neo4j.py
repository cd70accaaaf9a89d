"""A mesh whose records, graph and keys are on Neo4j: the same documents give the same hits as on SQLite."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support import neo4j
from support.mesh import Mesh

pytestmark = neo4j.needed

MODES = ("DENSE", "BM25", "HYBRID", "GRAPH")
TRADES = ("glass", "copper", "salt", "wool", "amber", "paper", "silk")


def town_documents(count: int = 40) -> dict[str, str]:
    """Chains of facts: a person lives in a town, the town is led by another person, who trades in something."""
    chance = random.Random(20_260_101)
    syllables = ("ka", "ren", "mo", "tis", "bel", "dor", "vin", "lau", "ste", "gro")
    names = sorted({"".join(chance.choices(syllables, k=3)).capitalize() for _ in range(6 * count)})
    chance.shuffle(names)
    people, towns = names[:count], names[count : 2 * count]
    documents = {}
    for person, town in zip(people, towns, strict=True):
        leader, other = chance.choice(people), chance.choice(towns)
        documents[f"{town}.md"] = (
            f"# {town}\n\n{town} is a town near {other}. Its mayor is {leader}, who was elected in"
            f" {chance.randint(1800, 1999)}.\n"
        )
        documents[f"{person}.md"] = (
            f"# {person}\n\n{person} lives in {chance.choice(towns)} and trades in {chance.choice(TRADES)}."
            f" {person} learned the trade from {chance.choice(people)}.\n"
        )
    return documents


DOCUMENTS = town_documents()
TOWNS = sorted(key.removesuffix(".md") for key, text in DOCUMENTS.items() if "is a town" in text)
QUESTIONS = [f"What does the mayor of {town} trade in?" for town in TOWNS[:12]] + [
    f"Who taught those who deal in {trade} near {town}?" for trade, town in zip(TRADES, TOWNS, strict=False)
]


@pytest.fixture
def neo4j_mesh(embedding_cache: Path) -> Iterator[Mesh]:
    """A mesh on the server, with a tenant of its own; not started yet."""
    neo4j.require()
    tenant = f"e2e-{secrets.token_hex(4)}"
    environment = {
        "RAGMESH_RECORDS_URL": neo4j.URI,
        "RAGMESH_RECORDS_USER": neo4j.USER,
        "RAGMESH_RECORDS_PASSWORD": neo4j.PASSWORD,
        "RAGMESH_BOOTSTRAP_TENANT": tenant,
    }
    own = Mesh.at(embedding_cache, environment)
    try:
        yield own
    finally:
        own.close()
        asyncio.run(neo4j.forget_tenants(tenant))


def hits(mesh: Mesh, question: str, mode: str) -> list[tuple[Any, ...]]:
    return [
        (hit["chunk_id"], hit["document_id"], hit["version"], hit["score"])
        for hit in mesh.search("towns", question, mode=mode, top_k=10)
    ]


def rankings(mesh: Mesh) -> dict[tuple[str, str], list[tuple[Any, ...]]]:
    return {(question, mode): hits(mesh, question, mode) for question in QUESTIONS for mode in MODES}


def test_neo4j_and_sqlite_rank_the_same_and_a_restart_keeps_everything(neo4j_mesh: Mesh, fresh_mesh: Mesh) -> None:
    neo4j_mesh.start()
    assert not (neo4j_mesh.home / "records.db").exists()
    neo4j_mesh.create("towns")
    neo4j_mesh.ingest("towns", DOCUMENTS)
    found = rankings(neo4j_mesh)
    assert all(found.values())

    assert neo4j_mesh.terminate() == 0
    neo4j_mesh.start()
    assert rankings(neo4j_mesh) == found
    with neo4j_mesh.rest() as rest:
        assert rest.get("/v1/collections/towns").json()["documents_ready"] == len(DOCUMENTS)
        document = TOWNS[0] + ".md"
        [chunk] = rest.get(f"/v1/collections/towns/documents/{document}:chunks").json()["chunks"]
        assert chunk["text"] in DOCUMENTS[document]
        rest.delete(f"/v1/collections/towns/documents/{document}").raise_for_status()
        assert rest.get(f"/v1/collections/towns/documents/{document}").status_code == 404
    assert document not in {hit["document_id"] for hit in neo4j_mesh.search("towns", TOWNS[0], top_k=50)}

    fresh_mesh.start()
    fresh_mesh.create("towns")
    fresh_mesh.ingest("towns", DOCUMENTS)
    assert rankings(fresh_mesh) == found
