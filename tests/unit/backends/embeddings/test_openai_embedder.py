"""The adapter against a scripted server, through the real SDK and real sockets: never a wrong vector."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from prometheus_client import REGISTRY

from ragmesh_backends.embeddings import openai_embedder
from ragmesh_backends.embeddings.open import open_embedder
from ragmesh_backends.embeddings.openai_embedder import OpenAIEmbedder
from ragmesh_backends.store_settings import EmbeddingSettings
from ragmesh_servicekit import deadline
from ragmesh_servicekit.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    MeshError,
    Reason,
    Unavailable,
)
from ragmesh_servicekit.resilience.guard import Guard
from ragmesh_servicekit.settings import SettingsError, load
from support.embeddings_server import Body, EmbeddingScript, EmbeddingsServer, bag_of_words, malformed

SECRET = "sk-very-secret"


@pytest.fixture
async def server() -> AsyncIterator[EmbeddingsServer]:
    async with EmbeddingsServer() as running:
        yield running


@pytest.fixture
async def embedder(server: EmbeddingsServer) -> AsyncIterator[OpenAIEmbedder]:
    made = await OpenAIEmbedder.open(server.base_url, SECRET, "m", Guard("embeddings"), dimension=server.dimension)
    yield made
    await made.close()


async def failure(embedder: OpenAIEmbedder, text: str = "a question") -> MeshError:
    with pytest.raises(MeshError) as caught:
        await embedder.embed_query(text)
    assert SECRET not in str(caught.value)
    assert "secret detail" not in str(caught.value)
    return caught.value


def spoiled(change: Any) -> EmbeddingScript:
    """A reply whose `data` is changed in place."""

    def spoil(body: Body) -> Body:
        change(body["data"])
        return body

    return EmbeddingScript(spoil=spoil)


async def test_a_request_names_the_model_the_key_and_the_cheaper_encoding(
    server: EmbeddingsServer, embedder: OpenAIEmbedder
) -> None:
    vector = await embedder.embed_query("tea with milk")
    expected = bag_of_words("tea with milk", server.dimension)
    np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), atol=1e-6)
    (seen,) = server.requests
    assert seen.headers["authorization"] == f"Bearer {SECRET}"
    assert seen.body == {"model": "m", "input": ["tea with milk"], "encoding_format": "base64"}
    assert embedder.model_id == "openai:m"


async def test_documents_go_in_batches_of_a_hundred_two_at_once(
    server: EmbeddingsServer, embedder: OpenAIEmbedder
) -> None:
    server.scripts.extend([EmbeddingScript(delay_seconds=0.05)] * 6)
    vectors = await embedder.embed_documents([f"text {n}" for n in range(520)])
    assert sorted(len(batch) for batch in server.batches) == [20, 100, 100, 100, 100, 100]
    assert server.most_at_once == 2
    for n in (0, 99, 100, 519):
        np.testing.assert_array_equal(vectors[n], await embedder.embed_query(f"text {n}"))


async def test_a_batch_has_a_bound_on_its_characters(
    server: EmbeddingsServer, embedder: OpenAIEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai_embedder, "BATCH_CHARACTERS", 10)
    await embedder.embed_documents(["12345", "12345", "1", "a very long one", "2"])
    assert sorted(server.batches) == sorted([["12345", "12345"], ["1"], ["a very long one"], ["2"]])


async def test_nothing_is_sent_for_no_texts(server: EmbeddingsServer, embedder: OpenAIEmbedder) -> None:
    assert (await embedder.embed_documents([])).shape == (0, server.dimension)
    assert not server.requests


async def test_a_server_that_knows_no_base64_is_understood() -> None:
    async with EmbeddingsServer(ignores_encoding=True) as server:
        embedder = await OpenAIEmbedder.open(server.base_url, "k", "m", Guard("embeddings"), encoding="float")
        assert embedder.dimension == server.dimension
        as_text = bag_of_words("as text", server.dimension)
        expected = as_text / np.linalg.norm(as_text)
        np.testing.assert_allclose(await embedder.embed_query("as text"), expected, atol=1e-6)
        assert server.requests[0].body["encoding_format"] == "float"
        await embedder.close()


WRONG = {
    "too few": (spoiled(lambda data: data.pop()), "wrong_count"),
    "too many": (spoiled(lambda data: data.append(dict(data[0], index=2))), "wrong_count"),
    "the same index twice": (spoiled(lambda data: data[0].update(index=data[1]["index"])), "wrong_order"),
    "an index of nothing": (spoiled(lambda data: data[0].update(index=7)), "malformed"),
    "another dimension": (spoiled(lambda data: data[0].update(embedding=[0.5] * 383)), "wrong_dimension"),
    "no numbers": (spoiled(lambda data: [item.update(embedding=[]) for item in data]), "wrong_dimension"),
    "not a number": (spoiled(lambda data: data[1].update(embedding=[float("nan")] * 384)), "not_finite"),
    "infinite": (spoiled(lambda data: data[1].update(embedding=[1e300] * 384)), "not_finite"),
    "all zero": (spoiled(lambda data: data[1].update(embedding=[0.0] * 384)), "zero"),
    "words": (spoiled(lambda data: data[0].update(embedding=["a"] * 384)), "malformed"),
    "rows": (spoiled(lambda data: data[0].update(embedding=[[0.5]] * 384)), "malformed"),
    "no base64": (spoiled(lambda data: data[0].update(embedding="$$$$")), "malformed"),
    "half a number": (spoiled(lambda data: data[0].update(embedding="AAAA")), "malformed"),
    "no data": (EmbeddingScript(spoil=lambda body: {"object": "list"}), "malformed"),
    "data of nothing": (EmbeddingScript(spoil=lambda body: {"data": [None, None]}), "malformed"),
    "a list": (EmbeddingScript(raw=b"[1, 2]"), "malformed"),
    "broken off": (EmbeddingScript(raw=malformed(40)), "malformed"),
    "no text": (EmbeddingScript(raw=b"\xff\xfe\x00"), "malformed"),
    "a web page": (EmbeddingScript(raw=b"<html>hello</html>"), "malformed"),
}


@pytest.mark.parametrize("what", WRONG)
async def test_a_wrong_answer_is_an_error_and_never_a_vector(
    what: str, server: EmbeddingsServer, embedder: OpenAIEmbedder
) -> None:
    script, cause = WRONG[what]
    server.scripts.append(script)
    with pytest.raises(Unavailable) as caught:
        await embedder.embed_documents(["one", "two"])
    assert caught.value.metadata == {"dependency": "embeddings", "cause": cause}
    assert caught.value.message.startswith("the embedding model gave ")
    assert (await embedder.embed_documents(["one", "two"])).shape == (2, server.dimension)


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        (401, "authentication"),
        (403, "permission"),
        (404, "not_found"),
        (429, "rate_limit"),
        (500, "status_500"),
        (503, "status_503"),
    ],
)
async def test_a_query_that_fails_is_asked_once(
    status: int, cause: str, server: EmbeddingsServer, embedder: OpenAIEmbedder
) -> None:
    server.scripts.append(EmbeddingScript(status=status, headers={"retry-after": "7"}))
    error = await failure(embedder)
    assert isinstance(error, Unavailable)
    assert (error.reason, error.metadata["cause"]) == (Reason.MODEL_UNAVAILABLE, cause)
    assert error.retry_after_seconds == (7.0 if status in {429, 500, 503} else None)
    assert len(server.requests) == 1


async def test_a_connection_that_is_reset_or_refused_is_unavailable(
    server: EmbeddingsServer, embedder: OpenAIEmbedder
) -> None:
    server.scripts.append(EmbeddingScript(reset=True))
    assert (await failure(embedder)).metadata["cause"] == "connection"
    nobody = await OpenAIEmbedder.open("http://127.0.0.1:9/v1", SECRET, "m", Guard("embeddings"), dimension=3)
    assert (await failure(nobody)).metadata["cause"] == "connection"
    await nobody.close()


async def test_an_api_that_stalls_is_given_up_after_its_time(
    server: EmbeddingsServer, embedder: OpenAIEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai_embedder, "CALL_SECONDS", 0.1)
    server.scripts.append(EmbeddingScript(stall=True))
    error = await failure(embedder)
    assert isinstance(error, Unavailable)
    assert error.metadata["dependency"] == "embeddings"
    await asyncio.wait_for(server.requests[0].disconnected.wait(), 5)


async def test_the_deadline_of_the_request_ends_the_wait(server: EmbeddingsServer, embedder: OpenAIEmbedder) -> None:
    server.scripts.append(EmbeddingScript(stall=True))
    started = time.monotonic()
    with deadline.scope(0.1):
        assert isinstance(await failure(embedder), DeadlineExceeded)
    assert time.monotonic() - started < 1.0


async def test_a_text_that_is_too_long_is_refused_for_good_or_cut_where_the_settings_say() -> None:
    async with EmbeddingsServer(limit_characters=20) as server:
        whole = await OpenAIEmbedder.open(server.base_url, SECRET, "m", Guard("embeddings"), dimension=384)
        error = await failure(whole, "x" * 21)
        assert isinstance(error, FailedPrecondition)
        assert (error.reason, error.metadata["cause"]) == (Reason.MODEL_REFUSED, "context_length")
        assert "RAGMESH_EMBEDDING_MAX_CHARACTERS" in error.message
        await whole.close()
        cut = await OpenAIEmbedder.open(
            server.base_url, SECRET, "m", Guard("embeddings"), dimension=384, max_characters=20
        )
        await cut.embed_query("x" * 21)
        assert server.batches[-1] == ["x" * 20]
        await cut.close()


async def test_a_bad_request_is_the_texts_fault_only_when_another_text_passes() -> None:
    async with EmbeddingsServer(refuses="poison") as server:
        embedder = await OpenAIEmbedder.open(server.base_url, SECRET, "m", Guard("embeddings"), dimension=384)
        error = await failure(embedder, "some poison")
        assert isinstance(error, FailedPrecondition)
        assert error.reason is Reason.MODEL_REFUSED
        server.scripts.extend([EmbeddingScript(status=400)] * 2)
        error = await failure(embedder, "a good text")
        assert isinstance(error, Unavailable)
        assert error.metadata["cause"] == "bad_request"
        await embedder.close()


async def test_a_text_that_is_no_unicode_is_the_callers_fault(
    server: EmbeddingsServer, embedder: OpenAIEmbedder
) -> None:
    assert isinstance(await failure(embedder, "half a pair \ud83c"), InvalidArgument)
    assert not server.requests


async def test_the_dimension_is_asked_once_and_then_expected() -> None:
    async with EmbeddingsServer(dimension=12) as server:
        embedder = await OpenAIEmbedder.open(server.base_url, SECRET, "m", Guard("embeddings"))
        assert embedder.dimension == 12
        server.dimension = 13
        assert (await failure(embedder)).metadata["cause"] == "wrong_dimension"
        await embedder.close()
        server.scripts.append(EmbeddingScript(status=500))
        with pytest.raises(Unavailable):
            await OpenAIEmbedder.open(server.base_url, SECRET, "m", Guard("embeddings"))


async def test_the_tokens_that_the_api_counts_are_counted(server: EmbeddingsServer, embedder: OpenAIEmbedder) -> None:
    def counted() -> float:
        return REGISTRY.get_sample_value("ragmesh_embedding_tokens_total") or 0.0

    before = counted()
    await embedder.embed_documents(["one", "two"])
    assert counted() == before + 14
    server.scripts.append(EmbeddingScript(spoil=lambda body: {**body, "usage": None}))
    await embedder.embed_query("without a count")
    assert counted() == before + 14


async def test_the_settings_choose_the_embedder(server: EmbeddingsServer) -> None:
    environment = {"RAGMESH_MODELS_DIR": "/nowhere", "RAGMESH_EMBEDDING_URL": server.base_url}
    with pytest.raises(SettingsError, match="RAGMESH_EMBEDDING_NAME"):
        load(EmbeddingSettings, environment)
    with pytest.raises(SettingsError, match="RAGMESH_EMBEDDING_URL"):
        load(EmbeddingSettings, {**environment, "RAGMESH_EMBEDDING_URL": "host:80"})
    settings = load(EmbeddingSettings, {**environment, "RAGMESH_EMBEDDING_NAME": "words"})
    embedder = await open_embedder(settings, Guard("embeddings"))
    assert (embedder.model_id, embedder.dimension) == ("openai:words", 384)
    await embedder.close()
