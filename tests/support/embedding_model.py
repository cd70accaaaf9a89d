"""The embedding model's graph, built once and kept with pytest's own cache between sessions."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragmesh_backends.embeddings import cache


@pytest.fixture(scope="session")
def embedding_cache(request: pytest.FixtureRequest) -> Path:
    """A folder that holds the checked graph; the tests of the cache itself build in folders of their own."""
    store = request.config.cache
    assert store is not None
    folder = store.mkdir("embedding-graph")
    cache.fill(folder)
    return folder
