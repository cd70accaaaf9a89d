"""Chunk rows for tests of stores: small vectors that are easy to tell apart."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from ragmesh_backends.model.document import Chunk, ChunkRow

DIMENSION = 8


def unit(*values: float) -> NDArray[np.float32]:
    """A unit vector of DIMENSION whose first coordinates point to `values`."""
    vector = np.zeros(DIMENSION, dtype=np.float32)
    vector[: len(values)] = values
    return vector / np.float32(np.linalg.norm(vector))


def row(
    document_id: str = "doc",
    text: str = "some words",
    *,
    version: int = 1,
    ordinal: int = 0,
    title: str = "",
    heading_path: tuple[str, ...] = (),
    vector: NDArray[np.float32] | None = None,
    access: tuple[str, ...] = (),
    page: int | None = None,
) -> ChunkRow:
    chunk_id = blake2b(f"{document_id}:{version}:{ordinal}".encode(), digest_size=12).hexdigest()
    chunk = Chunk(chunk_id, document_id, version, ordinal, text, title, heading_path, 7, 7 + len(text), page)
    return ChunkRow(chunk, unit(1) if vector is None else vector, access)
