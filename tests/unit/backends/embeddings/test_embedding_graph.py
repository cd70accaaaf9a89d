from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from ragmesh_backends.embeddings import graph, weights
from ragmesh_backends.embeddings.cache import GRAPH_NAME
from ragmesh_backends.embeddings.tokenizer import WordPieces

PAIR = ("The new movie is awesome", "The new movie is so great")
PUBLISHED_SIMILARITY = 0.8939
"""Of PAIR under all-MiniLM-L6-v2, from the documentation of sentence-transformers."""


def _similarity(model: str | bytes) -> float:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    pieces = WordPieces(weights.installed().tokenizer)
    first, second = (session.run(None, {"input_ids": pieces.encode(text)})[0] for text in PAIR)
    return float(np.dot(first, second))


def test_the_graph_gives_the_published_similarity() -> None:
    model = graph.build(weights.load(weights.installed().weights))
    onnx.checker.check_model(model)
    assert _similarity(model.SerializeToString()) == pytest.approx(PUBLISHED_SIMILARITY, abs=1e-4)


def test_the_quantised_graph_is_small_and_close(embedding_cache: Path) -> None:
    path = embedding_cache / GRAPH_NAME
    assert path.stat().st_size < 24_000_000
    assert _similarity(str(path)) == pytest.approx(PUBLISHED_SIMILARITY, abs=0.02)
