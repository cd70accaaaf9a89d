"""What every graph store bounds and refuses alike, so that all give the same links."""

from __future__ import annotations

from ragmesh_backends.model.graph import ChunkEntities
from ragmesh_servicekit.errors import InvalidArgument

HUB_OCCURRENCES = 1_000
"""A name that stands in more chunks of an index than this tells nothing: it is counted, but not linked."""

TARGETS_PER_ENTITY = 16
"""Of the chunks that are about one entity, so many are links' targets: the first of each document come first."""

SWEEP_CHUNKS = 200
"""Chunks deleted in one transaction: others write in between."""


def check_words(chunk: ChunkEntities) -> None:
    """Raise InvalidArgument when a token or key is not made of the words that `model.tokens` makes."""
    if not all(map(str.isalnum, chunk.tokens)):
        raise InvalidArgument.field("tokens", "each must be letters and digits only")
    for name in chunk.about:
        if not all(map(str.isalnum, name.split(" "))):
            raise InvalidArgument.field("about", "each must be words of letters and digits, joined by one blank")
