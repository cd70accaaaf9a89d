"""How well the passages carry an answer."""

from __future__ import annotations

from collections.abc import Sequence

from ragmesh_backends.model.sentences import sentences
from ragmesh_generator.domain.events import Citation


def confidence(answer: str, citations: Sequence[Citation]) -> float:
    """cited sentences / sentences, 0 to 1; 0 for an answer without sentences. A sentence is cited when a citation's
    mark stands in it or right after it. It says that sources were named, not that they say the same."""
    found = sentences(answer)
    if not found:
        return 0.0
    cited = sum(any(s.start <= c.start < s.end for c in citations) for s in found)
    return cited / len(found)
