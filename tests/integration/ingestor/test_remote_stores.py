"""The ingestor with its embeddings from an API and its blobs in S3: what it promises with neither it promises with
both."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from ragmesh_backends.blobs.object_store import ObjectBlobs
from ragmesh_backends.embeddings.openai_embedder import OpenAIEmbedder
from ragmesh_backends.model.document import DocumentVersion
from ragmesh_backends.model.job import JobState
from ragmesh_ingestor.domain.submit import DocumentInput
from ragmesh_servicekit.errors import FailedPrecondition, Reason
from ragmesh_servicekit.identity import Identity
from ragmesh_servicekit.resilience.guard import Guard
from support.embeddings_server import EmbeddingScript, EmbeddingsServer, bag_of_words
from support.s3 import s3_settings
from support.small_ingest import SmallMesh, small_mesh

ACME = Identity("acme", "key-1", ())
DIMENSION = 48


@dataclass
class World:
    mesh: SmallMesh
    api: EmbeddingsServer


@asynccontextmanager
async def world(folder: Path, blobs: ObjectBlobs | None = None) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(EmbeddingsServer(dimension=DIMENSION, limit_characters=600))
        embedder = await OpenAIEmbedder.open(api.base_url, "key", "hashed-words", Guard("embeddings"))
        stack.push_async_callback(embedder.close)
        mesh = await stack.enter_async_context(small_mesh(folder, blobs=blobs, embedder=embedder))
        yield World(mesh, api)


@pytest.fixture(params=["folder", "s3"])
async def remote(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    """The API with a folder, which needs no server, and with S3."""
    blobs = await ObjectBlobs.open(s3_settings(), Guard("blobs")) if request.param == "s3" else None
    async with world(tmp_path, blobs) as made:
        yield made


async def test_documents_become_searchable_are_read_back_and_leave_nothing_when_deleted(remote: World) -> None:
    mesh = remote.mesh
    docs = await mesh.collections.create("acme", "docs")
    assert (docs.spec.embedding_model, docs.spec.dimension) == ("openai:hashed-words", DIMENSION)
    texts = {f"d{n}": f"document number{n} of many" for n in range(130)}
    async with mesh.working():
        sent = [DocumentInput(text.encode(), document_id=i, title=i) for i, text in texts.items()]
        fields = [f"documents[{n}]" for n in range(len(sent))]
        jobs = await mesh.queue.ended(await mesh.submit(ACME, "docs", sent, fields=fields))
    assert {job.state for job in jobs} == {JobState.READY}
    assert len(mesh.seen(docs.index)) == len(texts)
    assert max(len(batch) for batch in remote.api.batches) <= 100
    row = next(r for r in mesh.vectors.rows[docs.index].values() if r.chunk.document_id == "d7")
    sent_text = next(text for batch in remote.api.batches for text in batch if "number7 " in text)
    expected = bag_of_words(sent_text, DIMENSION)
    np.testing.assert_allclose(row.vector, expected / np.linalg.norm(expected), atol=1e-6)
    assert (await mesh.documents.content("acme", "docs", "d7", 0, 0)).text == texts["d7"]
    assert (await mesh.documents.content("acme", "docs", "d7", 9, 6)).text == "number"
    for document_id in texts:
        await mesh.documents.delete("acme", "docs", document_id)
    for _ in range(3):
        await mesh.sweeper.sweep()
    assert not [key async for key in mesh.blobs.list_prefix("acme")]


async def test_an_api_that_fails_for_a_while_delays_documents_and_does_not_fail_them(remote: World) -> None:
    mesh = remote.mesh
    docs = await mesh.collections.create("acme", "docs")
    remote.api.scripts.extend(
        [
            EmbeddingScript(status=503),
            EmbeddingScript(status=429),
            EmbeddingScript(raw=b"{"),
            EmbeddingScript(reset=True),
        ]
    )
    async with mesh.working():
        (job,) = await mesh.queue.ended(await mesh.submit(ACME, "docs", [DocumentInput(b"text", document_id="a")]))
    assert job.state is JobState.READY
    assert set(mesh.seen(docs.index)) == {DocumentVersion("a", 1)}
    assert not remote.api.scripts


async def test_a_passage_that_the_model_cannot_read_fails_its_document_alone_and_says_why(remote: World) -> None:
    mesh = remote.mesh
    await mesh.collections.create("acme", "docs")
    sent = [DocumentInput(b"x" * 601, document_id="long"), DocumentInput(b"short", document_id="short")]
    async with mesh.working():
        long, short = await mesh.queue.ended(await mesh.submit(ACME, "docs", sent, fields=["a", "b"]))
    assert short.state is JobState.READY
    assert (long.state, long.failure_reason) == (JobState.DEAD_LETTERED, Reason.MODEL_REFUSED)
    assert "longer than the embedding model can read" in long.failure_message


async def test_another_model_neither_takes_documents_of_a_collection_nor_finishes_those_it_has(tmp_path: Path) -> None:
    async with world(tmp_path) as first:
        docs = await first.mesh.collections.create("acme", "docs")
        (waiting,) = await first.mesh.submit(ACME, "docs", [DocumentInput(b"text", document_id="a")])
    async with small_mesh(tmp_path) as other:  # of the same dimension or not: the name decides
        with pytest.raises(FailedPrecondition, match="openai:hashed-words"):
            await other.submit(ACME, "docs", [DocumentInput(b"text", document_id="b")])
        other.queue = first.mesh.queue
        async with other.working():
            (job,) = await other.queue.ended([waiting])
        assert (job.state, job.failure_reason) == (JobState.DEAD_LETTERED, Reason.STATE_CONFLICT)
        assert "openai:hashed-words" in job.failure_message
        assert not other.seen(docs.index)
