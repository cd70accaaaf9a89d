"""Title links: a passage mentions what another passage is about.

Two kinds point at a target: the question names an entity, or a chosen passage mentions one.
"""

from __future__ import annotations

import math
from collections.abc import Collection as Group
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ragmesh_backends.model.document import Chunk, DocumentVersion
from ragmesh_backends.model.graph import Link
from ragmesh_backends.model.tokens import MAX_ENTITY_TOKENS, entity_key, words

LINK_WEIGHT = 0.35
"""What a link adds at most, of a mentioning passage or of the question (docs/architecture.md, retrieval: measured on
MuSiQue; .25 to .45 measure within two points of R@5)."""

MAX_QUESTION_WORDS = 64
"""Words of a question in which names are looked for: at most 8 x 64 keys for the graph."""


def names_in(question: str) -> tuple[str, ...]:
    """Every run of up to 8 words of the question, as entity keys: those that name nothing find nothing."""
    tokens = words(question)[:MAX_QUESTION_WORDS]
    runs = (
        " ".join(tokens[start:end])
        for start in range(len(tokens))
        for end in range(start + 1, min(start + MAX_ENTITY_TOKENS, len(tokens)) + 1)
    )
    return tuple(dict.fromkeys(key for key in runs if len(key) > 1 and not key.replace(" ", "").isdigit()))


USUAL_MENTIONS = 10
"""Entities that a passage may mention without being a list. In the measured pool 99 % mention five or fewer."""


def worth(link: Link) -> float:
    """What is left of a link's value, 0..1, after damping by its source's out-degree: a list of everything
    recommends nothing. Damping from the first mention on loses .8 points of R@5 on MuSiQue."""
    return min(1.0, math.sqrt(USUAL_MENTIONS / max(link.out_degree, 1)))


@dataclass(slots=True)
class LinkMap:
    """The links known in one search. named: from the question; outgoing: by source chunk, an empty tuple for a
    source that was asked about and mentions nothing."""

    named: tuple[Link, ...] = ()
    outgoing: dict[str, tuple[Link, ...]] = field(default_factory=dict)

    def add(self, sources: Sequence[Chunk], links: Iterable[Link], hidden: Group[DocumentVersion]) -> None:
        """Keep what `sources` mention. A document does not recommend itself, nor others of its own title."""
        own = {chunk.chunk_id: (chunk.document_id, entity_key(chunk.title)) for chunk in sources}
        kept: dict[str, list[Link]] = {chunk_id: [] for chunk_id in own}
        for link in links:
            if link.source_chunk_id not in own or is_hidden(link, hidden):
                continue
            document_id, title_key = own[link.source_chunk_id]
            if link.target_document_id != document_id and link.entity != title_key:
                kept[link.source_chunk_id].append(link)
        self.outgoing.update({chunk_id: tuple(found) for chunk_id, found in kept.items()})

    def targets(self, sources: Mapping[str, float], limit: int, known: Group[str]) -> tuple[str, ...]:
        """The ids of at most `limit` targets that are not `known`, the most promising first: what the question names,
        then by the fused score of the source (`sources`: chunk id to score) times the link's worth."""
        promise: dict[str, float] = {link.target_chunk_id: 2.0 for link in self.named}
        for source, score in sources.items():
            for link in self.outgoing.get(source, ()):
                value = score * worth(link)
                if value > promise.get(link.target_chunk_id, -1.0):
                    promise[link.target_chunk_id] = value
        ranked = sorted((-value, target) for target, value in promise.items() if target not in known)
        return tuple(target for _, target in ranked[:limit])


def is_hidden(link: Link, hidden: Group[DocumentVersion]) -> bool:
    return DocumentVersion(link.target_document_id, link.target_version) in hidden
