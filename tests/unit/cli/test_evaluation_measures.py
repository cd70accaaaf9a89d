"""Recall and nDCG against values worked out by hand."""

from __future__ import annotations

import math

import pytest

from ragmesh_cli.evaluation.measures import mean, ndcg, percentile, recall

RELEVANT = {"a": 1, "b": 1, "c": 2}


def test_recall_is_the_share_of_the_relevant_that_was_found() -> None:
    assert recall(["x", "a", "c"], RELEVANT, 2) == pytest.approx(1 / 3)
    assert recall(["x", "a", "c"], RELEVANT, 3) == pytest.approx(2 / 3)


def test_ndcg_weighs_relevance_by_rank_and_is_one_for_the_ideal_order() -> None:
    assert ndcg(["c", "a", "b"], RELEVANT, 10) == pytest.approx(1.0)
    gained = 1 / math.log2(3) + 2 / math.log2(4)
    ideal = 2 / math.log2(2) + 1 / math.log2(3) + 1 / math.log2(4)
    assert ndcg(["x", "a", "c"], RELEVANT, 10) == pytest.approx(gained / ideal)
    assert ndcg([], RELEVANT, 10) == 0.0


def test_percentiles_are_values_that_were_measured() -> None:
    assert percentile([4, 1, 3, 2], 0.5) == 2
    assert percentile([4, 1, 3, 2], 0.95) == 4


def test_a_mean_over_nothing_is_zero_and_one_value_is_every_percentile() -> None:
    assert mean([]) == 0.0
    assert mean([1, 2]) == 1.5
    assert percentile([7], 0.0) == percentile([7], 0.5) == percentile([7], 1.0) == 7
