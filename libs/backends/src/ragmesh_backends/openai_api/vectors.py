"""The reply of /embeddings as an array, or an error: never vectors that are wrong, too few, or in another order."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray


class WrongReply(ValueError):
    """A reply that cannot be used. word: constant, for metrics. sentence: what is wrong, going on from the model."""

    def __init__(self, word: str, sentence: str) -> None:
        super().__init__(word)
        self.word = word
        self.sentence = sentence


def unit_vectors(reply: Any, count: int, dimension: int | None) -> NDArray[np.float32]:
    """(count, dimension) float32 of unit norm, ordered by `index`. dimension: None when the reply decides it.

    A vector may be a list of numbers or, as `encoding_format: base64` asks, little-endian float32: servers that do not
    know the format send the list. The SDK does not check what it parses, so everything is checked here: the number of
    vectors, that each index occurs once, the dimension, and that the numbers are finite and not all zero.
    Raises WrongReply.
    """
    try:
        items = {item.index: item.embedding for item in reply.data}
        given = len(reply.data)
        rows = [_row(items[index]) for index in range(count)] if given == count == len(items) else []
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise WrongReply("malformed", "gave an answer that could not be read") from error
    if given != count:
        raise WrongReply("wrong_count", f"gave {given} vectors for {count} texts")
    if len(rows) != count:
        raise WrongReply("wrong_order", "gave two vectors for one text")
    sizes = {row.size for row in rows}
    expected = dimension or max(sizes, default=0)
    if sizes - {expected} or not expected:
        wrong = min(sizes - {expected} or sizes)
        raise WrongReply("wrong_dimension", f"gave a vector of {wrong} numbers where {expected or 'some'} are expected")
    vectors = np.stack(rows)
    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not np.isfinite(norms).all():
        raise WrongReply("not_finite", "gave a vector that holds numbers that are not finite")
    if not norms.all():
        raise WrongReply("zero", "gave a vector of zeros")
    unit: NDArray[np.float32] = vectors / norms
    return unit


def _row(embedding: Any) -> NDArray[np.float32]:
    if isinstance(embedding, str):
        return np.frombuffer(base64.b64decode(embedding, validate=True), dtype="<f4")
    if not isinstance(embedding, list):
        raise TypeError("an embedding is a list or base64")
    with np.errstate(over="ignore"):  # too large for float32 is infinite, which is found later
        row = np.array(embedding, dtype=np.float32)
    if row.ndim != 1:
        raise ValueError("an embedding is one row of numbers")
    return row
