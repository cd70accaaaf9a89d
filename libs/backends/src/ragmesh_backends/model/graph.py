"""The entity graph: which passages are about an entity, and which mention it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ChunkEntities:
    """What the graph keeps of one chunk.

    about: normalised entity keys this chunk is about (its document's title, its own heading).
    tokens: the chunk's normalised tokens in order (title words excluded), in which mentions are found: an
        entity is mentioned where its key, a run of tokens joined by one blank, occurs.
    """

    chunk_id: str
    document_id: str
    version: int
    ordinal: int
    about: tuple[str, ...]
    tokens: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Link:
    """source chunk mentions the entity that target chunk is about.

    out_degree: distinct entities that the source mentions; in_degree: distinct chunks that mention the entity.
    """

    source_chunk_id: str
    entity: str
    target_chunk_id: str
    target_document_id: str
    target_version: int
    out_degree: int
    in_degree: int
