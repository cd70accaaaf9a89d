"""A mesh whose embeddings come from an API, by its environment alone; and what becomes of its collections when the
model is another one."""

from __future__ import annotations

import asyncio
from pathlib import Path

from e2e.conftest import DOCUMENTS
from support.embeddings_server import EmbeddingsServer
from support.mesh import Mesh

QUESTION = "Who rebuilt the granite tower of the Fastnet lighthouse?"


async def test_a_mesh_embeds_through_an_api_and_refuses_its_collections_to_another_model(embedding_cache: Path) -> None:
    async with EmbeddingsServer() as api:
        environment = {"RAGMESH_EMBEDDING_URL": api.base_url, "RAGMESH_EMBEDDING_NAME": "hashed-words"}
        mesh = Mesh.at(embedding_cache, environment)
        try:
            await asyncio.to_thread(_ask_through_the_api, mesh)
            sent = [text for batch in api.batches for text in batch]
            assert sent.count(QUESTION) == 1
            assert any("William Douglass was an engineer" in text for text in sent)
            mesh.environment = {}
            await asyncio.to_thread(_ask_with_another_model, mesh)
        finally:
            await asyncio.to_thread(mesh.close)


def _ask_through_the_api(mesh: Mesh) -> None:
    mesh.start()
    mesh.create("facts")
    mesh.ingest("facts", DOCUMENTS)
    for _ in range(2):  # the second from the cache
        assert mesh.search("facts", QUESTION, mode="DENSE")[0]["document_id"] == "lighthouse.md"
    mesh.terminate()


def _ask_with_another_model(mesh: Mesh) -> None:
    mesh.start()
    assert mesh.search("facts", QUESTION, mode="BM25")[0]["document_id"] == "lighthouse.md"
    with mesh.rest() as rest:
        search = rest.post("/v1/collections/facts:search", json={"query": QUESTION})
        add = rest.post("/v1/collections/facts/documents", json={"document_id": "x", "text": "more"})
    for reply in (search, add):
        assert (reply.status_code, reply.json()["code"]) == (412, "FAILED_PRECONDITION"), reply.text
        assert "openai:hashed-words" in reply.text
