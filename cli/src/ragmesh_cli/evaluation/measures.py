"""Recall@k and nDCG@k over rankings of document ids.

recall@k = relevant documents among the first k / relevant documents. nDCG@k as trec_eval has it: gains are the
relevance, discounts log2(rank + 1) (Järvelin and Kekäläinen, 2002). Both are means over queries.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence


def recall(ranking: Sequence[str], relevant: Mapping[str, int], k: int) -> float:
    return sum(1 for document in ranking[:k] if document in relevant) / len(relevant)


def ndcg(ranking: Sequence[str], relevant: Mapping[str, int], k: int) -> float:
    gains = [relevant.get(document, 0) for document in ranking[:k]]
    ideal = sorted(relevant.values(), reverse=True)[:k]
    return _dcg(gains) / _dcg(ideal)


def _dcg(gains: Sequence[int]) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, 1))


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile; share in 0..1."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, math.ceil(share * len(ordered)) - 1))]
