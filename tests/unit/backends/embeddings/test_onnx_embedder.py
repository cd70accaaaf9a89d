from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from ragmesh_backends.embeddings.onnx import OnnxEmbedder
from ragmesh_backends.embeddings.timing import embed_only_seconds, texts_of
from ragmesh_servicekit.errors import InvalidArgument, Unavailable


@pytest.fixture
async def embedder(embedding_cache: Path) -> AsyncIterator[OnnxEmbedder]:
    made = await OnnxEmbedder.open(embedding_cache, threads=2)
    yield made
    await made.close()


async def test_the_model_id_names_model_weights_and_precision(embedder: OnnxEmbedder) -> None:
    assert embedder.model_id == "all-MiniLM-L6-v2@53aa5117:int8"
    assert (embedder.dimension, embedder.max_tokens) == (384, 256)


async def test_no_threads_are_refused(embedding_cache: Path) -> None:
    with pytest.raises(InvalidArgument, match="threads: must be 1 or more"):
        await OnnxEmbedder.open(embedding_cache, threads=0)


async def test_a_higher_limit_reads_more_of_a_text(embedding_cache: Path, embedder: OnnxEmbedder) -> None:
    text = "rain " * 300 + "and then the sun " * 40
    longer = await OnnxEmbedder.open(embedding_cache, threads=1, max_tokens=512)
    try:
        assert not np.array_equal(await longer.embed_query(text), await embedder.embed_query(text))
    finally:
        await longer.close()


async def test_one_bad_text_refuses_the_call_with_its_own_error(embedder: OnnxEmbedder) -> None:
    with pytest.raises(InvalidArgument, match="text: must be Unicode"):
        await embedder.embed_documents(["good", "half a pair \ud83c", "good"] * 3)


async def test_closing_under_load_never_gives_half_a_result(embedder: OnnxEmbedder) -> None:
    calls = [asyncio.create_task(embedder.embed_documents(["some words " * 20] * 50)) for _ in range(3)]
    await embedder.embed_query("the calls have begun by now")
    await embedder.close()
    for outcome in await asyncio.gather(*calls, return_exceptions=True):
        if isinstance(outcome, BaseException):
            assert isinstance(outcome, Unavailable)
        else:
            np.testing.assert_allclose(np.linalg.norm(outcome, axis=1), 1.0, atol=1e-5)


async def test_the_event_loop_stays_free_while_documents_are_embedded(embedder: OnnxEmbedder) -> None:
    call = asyncio.create_task(embedder.embed_documents(["some words " * 50] * 40))
    turns = 0
    while not call.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > 1_000


async def test_embedding_alone_is_timed(embedder: OnnxEmbedder) -> None:
    assert await embed_only_seconds(embedder, ["a", "b"]) > 0


def test_the_timing_command_reads_lines_and_prints_one_object(embedding_cache: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "ragmesh_backends.embeddings.timing", "--cache-dir", embedding_cache, "--threads", "1"],
        input='{"text": "one"}\n{"text": "two"}\n',
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    printed = json.loads(run.stdout)
    assert printed["texts"] == 2
    assert printed["seconds"] >= 0


@pytest.mark.parametrize("line", ["", "not json", "[]", '"a"', "{}", '{"text": 1}'])
def test_a_line_that_is_no_text_is_named(line: str) -> None:
    with pytest.raises(InvalidArgument, match="line 2"):
        texts_of(['{"text": "good"}', line])
