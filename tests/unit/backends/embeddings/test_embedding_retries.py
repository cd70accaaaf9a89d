"""Batches are repeated when their owner says so; questions never are."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from ragmesh_backends.embeddings.openai_embedder import OpenAIEmbedder
from ragmesh_servicekit.errors import Unavailable
from ragmesh_servicekit.resilience.breaker import AsyncBreaker
from ragmesh_servicekit.resilience.guard import Guard
from ragmesh_servicekit.resilience.retry import Retry
from support.embeddings_server import EmbeddingScript, EmbeddingsServer


@pytest.fixture
async def server() -> AsyncIterator[EmbeddingsServer]:
    async with EmbeddingsServer() as running:
        yield running


@pytest.fixture
async def embedder(server: EmbeddingsServer) -> AsyncIterator[OpenAIEmbedder]:
    guard = Guard("embeddings", breaker=AsyncBreaker("embeddings", "test"))
    retry = Retry("embeddings", chance=lambda: 0.1)
    made = await OpenAIEmbedder.open(server.base_url, "k", "m", guard, dimension=server.dimension, retry=retry)
    yield made
    await made.close()


async def test_a_batch_that_fails_is_sent_again_and_the_others_are_not(
    server: EmbeddingsServer, embedder: OpenAIEmbedder
) -> None:
    server.scripts += [EmbeddingScript(status=503), EmbeddingScript(status=500)]
    vectors = await embedder.embed_documents([f"text {number}" for number in range(300)])
    assert vectors.shape == (300, server.dimension)
    assert len(server.requests) == 3 + 2


async def test_a_batch_is_sent_three_times_and_a_question_once(
    server: EmbeddingsServer, embedder: OpenAIEmbedder
) -> None:
    server.scripts += [EmbeddingScript(status=503)] * 3
    with pytest.raises(Unavailable):
        await embedder.embed_documents(["text"])
    assert len(server.requests) == 3
    server.scripts.append(EmbeddingScript(status=503))
    with pytest.raises(Unavailable):
        await embedder.embed_query("question")
    assert len(server.requests) == 4


async def test_an_api_that_fails_is_left_alone(server: EmbeddingsServer, embedder: OpenAIEmbedder) -> None:
    server.scripts += [EmbeddingScript(status=503)] * 10
    for _ in range(4):
        with pytest.raises(Unavailable):
            await embedder.embed_documents(["text"])
    assert len(server.requests) == 5
