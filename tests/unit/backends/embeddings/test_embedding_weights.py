from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ragmesh_backends.embeddings import weights
from ragmesh_servicekit.errors import FailedPrecondition, Reason


def test_the_installed_weights_are_the_official_ones() -> None:
    tensors = weights.load(weights.installed().weights)
    assert tensors["embeddings.word_embeddings.weight"].shape == (30522, weights.DIMENSION)
    assert tensors["embeddings.position_embeddings.weight"].shape == (weights.POSITIONS, weights.DIMENSION)


def test_the_package_is_found_without_being_imported() -> None:
    weights.installed()
    assert weights.PACKAGE not in sys.modules


def test_a_missing_package_is_named_in_one_sentence() -> None:
    with pytest.raises(FailedPrecondition, match="the package no-such-model with the embedding model") as refused:
        weights.installed("no_such_model")
    assert refused.value.reason is Reason.MODEL_UNAVAILABLE


def test_a_package_without_the_model_is_refused() -> None:
    with pytest.raises(FailedPrecondition, match=r"lacks model\.safetensors"):
        weights.installed("ragmesh_backends")


def test_other_weights_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"not the official release")
    with pytest.raises(FailedPrecondition, match=r"model\.safetensors has SHA-256 .* not 53aa51172d14"):
        weights.load(file)


def test_weights_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FailedPrecondition, match="cannot be read"):
        weights.load(tmp_path / "model.safetensors")
