"""What every embedder promises, whichever model is behind it. A new adapter is one more entry of `ADAPTERS`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
from numpy.typing import NDArray

from ragmesh_backends.embeddings.onnx import OnnxEmbedder
from ragmesh_backends.embeddings.openai_embedder import OpenAIEmbedder
from ragmesh_servicekit import deadline
from ragmesh_servicekit.errors import DeadlineExceeded, Unavailable
from ragmesh_servicekit.resilience.guard import Guard
from support.embeddings_server import EmbeddingsServer


class Embedder(Protocol):
    """The port as ingestor and retriever know it, in one."""

    @property
    def model_id(self) -> str: ...
    @property
    def dimension(self) -> int: ...
    async def embed_documents(self, texts: Sequence[str]) -> NDArray[np.float32]: ...
    async def embed_query(self, text: str) -> NDArray[np.float32]: ...
    async def warm(self) -> None: ...
    async def close(self) -> None: ...


@asynccontextmanager
async def onnx(cache_dir: Path) -> AsyncIterator[Embedder]:
    yield await OnnxEmbedder.open(cache_dir, threads=2)


@asynccontextmanager
async def openai_api(cache_dir: Path) -> AsyncIterator[Embedder]:
    async with EmbeddingsServer(limit_characters=READ_CHARACTERS) as server:
        yield await OpenAIEmbedder.open(
            server.base_url, "key", "hashed-words", Guard("embeddings"), max_characters=READ_CHARACTERS
        )


ADAPTERS: tuple[Callable[[Path], AbstractAsyncContextManager[Embedder]], ...] = (onnx, openai_api)

READ_CHARACTERS = 256 * len("word ")
"""No adapter here reads more of a text that is made of `word `."""

TEXTS = [
    "Mont Blanc is the highest mountain of the Alps.",
    "tea",
    "A passage of some length, so that the texts of one call differ: " + "the river runs on and on. " * 20,
    "Ünïcödé, 漢字 and 🎈 are text as well.",
    "def main() -> int:\n    return 0\n",
]


@pytest.fixture(params=ADAPTERS, ids=lambda adapter: adapter.__name__)
async def embedder(request: pytest.FixtureRequest, embedding_cache: Path) -> AsyncIterator[Embedder]:
    async with request.param(embedding_cache) as made:
        yield made
        await made.close()


async def test_vectors_come_in_the_order_of_the_texts(embedder: Embedder) -> None:
    forwards = await embedder.embed_documents(TEXTS)
    backwards = await embedder.embed_documents(TEXTS[::-1])
    assert forwards.shape == (len(TEXTS), embedder.dimension)
    assert forwards.dtype == np.float32
    np.testing.assert_allclose(forwards, backwards[::-1], atol=1e-6)


async def test_vectors_have_length_one(embedder: Embedder) -> None:
    vectors = await embedder.embed_documents(TEXTS)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)


async def test_no_texts_give_no_vectors(embedder: Embedder) -> None:
    assert (await embedder.embed_documents([])).shape == (0, embedder.dimension)


async def test_an_empty_text_has_a_vector_too(embedder: Embedder) -> None:
    vectors = await embedder.embed_documents(["", " \n\t", "\x00"])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)


async def test_a_text_has_the_same_vector_alone_and_in_any_company(embedder: Embedder) -> None:
    together = await embedder.embed_documents([*TEXTS, *TEXTS[:2]])
    for text, vector in zip(TEXTS, together, strict=False):
        np.testing.assert_array_equal((await embedder.embed_documents([text]))[0], vector)
    np.testing.assert_array_equal(together[:2], together[-2:])


async def test_a_query_lies_nearest_to_the_text_that_answers_it(embedder: Embedder) -> None:
    query = await embedder.embed_query("Which mountain is the highest in the Alps?")
    assert query.shape == (embedder.dimension,)
    assert query.dtype == np.float32
    assert np.linalg.norm(query) == pytest.approx(1.0, abs=1e-5)
    assert int(np.argmax(await embedder.embed_documents(TEXTS) @ query)) == 0


async def test_a_long_text_is_cut_and_not_refused(embedder: Embedder) -> None:
    start = "word " * (READ_CHARACTERS // len("word "))
    vectors = await embedder.embed_documents([start, start + "and another end " * 20_000])
    np.testing.assert_array_equal(vectors[0], vectors[1])


async def test_calls_at_the_same_time_do_not_mix(embedder: Embedder) -> None:
    alone = await embedder.embed_documents(TEXTS)
    query = await embedder.embed_query(TEXTS[0])
    calls = [embedder.embed_documents(TEXTS[index:] + TEXTS[:index]) for index in range(len(TEXTS))]
    queries = [embedder.embed_query(TEXTS[0]) for _ in range(10)]
    found, asked = await asyncio.gather(asyncio.gather(*calls), asyncio.gather(*queries))
    for index, vectors in enumerate(found):
        np.testing.assert_array_equal(vectors, np.roll(alone, -index, axis=0))
    for vector in asked:
        np.testing.assert_array_equal(vector, query)


async def test_a_cancelled_call_ends_at_once_and_leaves_the_embedder_usable(embedder: Embedder) -> None:
    loop = asyncio.get_running_loop()
    # Minutes of work, were it not cancelled.
    call = asyncio.create_task(embedder.embed_documents(TEXTS * 5_000))
    await embedder.embed_query("the call has begun by now")
    call.cancel()
    cancelled_at = loop.time()
    with pytest.raises(asyncio.CancelledError):
        await call
    await embedder.embed_documents(TEXTS)
    assert loop.time() - cancelled_at < 5.0


async def test_a_query_is_not_stuck_behind_documents(embedder: Embedder) -> None:
    call = asyncio.create_task(embedder.embed_documents(TEXTS * 5_000))
    async with asyncio.timeout(10):
        for _ in range(20):
            await embedder.embed_query("what is the highest mountain?")
    assert not call.done()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_the_deadline_of_the_request_ends_a_call(embedder: Embedder) -> None:
    with deadline.scope(0.2), pytest.raises(DeadlineExceeded):
        await embedder.embed_documents(TEXTS * 5_000)


async def test_a_closed_embedder_refuses(embedder: Embedder) -> None:
    await embedder.warm()
    await embedder.close()
    await embedder.close()
    with pytest.raises(Unavailable):
        await embedder.embed_query("too late")
    with pytest.raises(Unavailable):
        await embedder.embed_documents(["too late"])


async def test_the_model_has_a_name(embedder: Embedder) -> None:
    assert embedder.model_id
    assert embedder.dimension > 0
