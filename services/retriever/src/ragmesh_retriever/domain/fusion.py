"""One score of two legs: a convex combination over floors that do not move.

Min-max over what a store returns makes a passage's score depend on how many were asked for; fixed floors do not.
The floor of the cosine and the weight are from measurements on MuSiQue and SciFact with MiniLM (docs/architecture.md,
retrieval); reciprocal rank fusion was the weakest of what was tried.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

DENSE_WEIGHT = 0.7
"""Share of the dense leg when both are there (convex fusion of dense and BM25, fixed, untrained)."""

COSINE_FLOOR = -0.15
"""A cosine that says nothing: unrelated passages of a sentence encoder lie around it or above."""

FloatArray = NDArray[np.float64]


def normalise_dense(cosine: FloatArray, top: float) -> FloatArray:
    """Cosines (n,) to 0..1, `top` being the highest of the search: (s + .15) / (top + .15), never below 0."""
    span = top - COSINE_FLOOR
    if span <= 0.0:
        return np.zeros_like(cosine)
    lifted: FloatArray = np.clip(cosine - COSINE_FLOOR, 0.0, None) / span
    return lifted


def normalise_bm25(score: FloatArray, top: float) -> FloatArray:
    """BM25 scores (n,) to 0..1 by the highest of the search; all 0 when that is 0."""
    if top <= 0.0:
        return np.zeros_like(score)
    shares: FloatArray = np.clip(score, 0.0, None) / top
    return shares


def fuse(dense: FloatArray | None, bm25: FloatArray | None) -> FloatArray:
    """Normalised scores (n,) of the legs to one (n,), 0..1. A leg that failed is None and leaves the other its whole
    weight; a leg that found nothing is zeros and keeps its share."""
    if dense is None and bm25 is None:
        raise ValueError("at least one leg is needed")
    if dense is None:
        assert bm25 is not None
        return bm25
    if bm25 is None:
        return dense
    fused: FloatArray = DENSE_WEIGHT * dense + (1.0 - DENSE_WEIGHT) * bm25
    return fused
