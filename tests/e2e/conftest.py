"""Fixtures over real meshes. The embedding graph is built once for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.embedding_model import embedding_cache
from support.mesh import Mesh

__all__ = ["embedding_cache"]

DOCUMENTS = {
    "lighthouse.md": "# Fastnet Lighthouse\n\nThe Fastnet lighthouse was first lit in 1854. Its granite tower was "
    "rebuilt in 1904 by William Douglass.",
    "keeper.md": "# William Douglass\n\nWilliam Douglass was an engineer from Cornwall. He died in 1913 in Stella "
    "House, Penzance.",
    "tea.md": "# Green tea\n\nGreen tea is brewed at 80 degrees for two minutes. Hotter water makes it bitter.",
}


@pytest.fixture(scope="session")
def mesh(embedding_cache: Path) -> Iterator[Mesh]:
    """A mesh that tests share and leave running, with a small collection `facts`."""
    shared = Mesh.at(embedding_cache)
    try:
        shared.start()
        shared.create("facts")
        shared.ingest("facts", DOCUMENTS)
        yield shared
    finally:
        shared.close()


@pytest.fixture
def fresh_mesh(embedding_cache: Path) -> Iterator[Mesh]:
    """A mesh of the test's own, not started yet."""
    own = Mesh.at(embedding_cache)
    try:
        yield own
    finally:
        own.close()
