"""The fusion of two legs."""

from __future__ import annotations

import numpy as np
import pytest

from ragmesh_retriever.domain.fusion import DENSE_WEIGHT, fuse, normalise_bm25, normalise_dense


def test_the_best_of_both_legs_scores_one() -> None:
    dense = normalise_dense(np.array([0.8, 0.1]), 0.8)
    bm25 = normalise_bm25(np.array([12.0, 3.0]), 12.0)
    assert fuse(dense, bm25)[0] == pytest.approx(1.0)


def test_floors_are_fixed_so_that_weak_hits_do_not_change_strong_ones() -> None:
    few = normalise_dense(np.array([0.8, 0.6]), 0.8)
    many = normalise_dense(np.array([0.8, 0.6, 0.0, -0.3]), 0.8)
    np.testing.assert_array_equal(few, many[:2])
    assert many[2] == pytest.approx(0.15 / 0.95)
    assert many[3] == 0.0


@pytest.mark.parametrize("top", [-0.15, -0.4])
def test_a_leg_without_any_similarity_gives_zeros_not_nan(top: float) -> None:
    assert normalise_dense(np.array([top, -0.9]), top).tolist() == [0.0, 0.0]


def test_a_leg_of_zeros_gives_zeros_not_nan() -> None:
    assert normalise_bm25(np.zeros(3), 0.0).tolist() == [0.0, 0.0, 0.0]


def test_fusion_stays_between_its_legs() -> None:
    rng = np.random.default_rng(7)
    dense, bm25 = rng.random(200), rng.random(200)
    fused = fuse(dense, bm25)
    assert np.all(fused <= np.maximum(dense, bm25) + 1e-12)
    assert np.all(fused >= np.minimum(dense, bm25) - 1e-12)


def test_more_of_one_leg_never_lowers_the_score() -> None:
    dense = np.array([0.5, 0.5])
    assert np.diff(fuse(dense, np.array([0.2, 0.3])))[0] > 0
    assert np.diff(fuse(np.array([0.2, 0.3]), dense))[0] > 0


def test_a_failed_leg_leaves_its_weight_and_an_empty_one_keeps_it() -> None:
    dense = np.array([1.0, 0.5])
    assert fuse(dense, None).tolist() == [1.0, 0.5]
    assert fuse(None, dense).tolist() == [1.0, 0.5]
    assert fuse(dense, np.zeros(2))[0] == pytest.approx(DENSE_WEIGHT)
    with pytest.raises(ValueError, match="one leg"):
        fuse(None, None)
