"""What the entity graph keeps of a passage: the names it is about, and its words.

A document's title is an entity that points at the document's first passage; a heading is one that points at
the first passage under it. Names that every other document has as well would be hubs; the graph damps them by
in-degree, and the most obvious ones are not taken at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ragmesh_backends.model.document import Chunk
from ragmesh_backends.model.graph import ChunkEntities
from ragmesh_backends.model.tokens import entity_key, words
from ragmesh_ingestor.domain.parsed import BlockKind, ParsedDocument
from ragmesh_ingestor.domain.passage import Passage

GENERIC_NAMES = frozenset(
    {
        "abstract", "acknowledgements", "acknowledgments", "appendix", "background", "bibliography", "changelog",
        "conclusion", "conclusions", "contents", "contributing", "description", "discussion", "document", "example",
        "examples", "external links", "faq", "features", "further reading", "getting started", "history", "home",
        "index", "installation", "introduction", "license", "limitations", "methods", "next steps", "note", "notes",
        "options", "overview", "parameters", "prerequisites", "quick start", "quickstart", "readme", "references",
        "related work", "requirements", "results", "see also", "setup", "sources", "summary", "table of contents",
        "title", "untitled", "usage", "why",
    }
)  # fmt: skip
"""Titles and headings that name a part of a document and nothing in the world."""


def with_entities(parsed: ParsedDocument, title: str, passages: Sequence[Passage]) -> tuple[Passage, ...]:
    """The passages with what each is about and its words. passages are in order of their start."""
    about: list[list[str]] = [[] for _ in passages]
    seen: set[str] = set()

    def point(name: str, ordinal: int) -> None:
        key = entity_key(name)
        if key is not None and key not in GENERIC_NAMES and key not in seen:
            seen.add(key)
            about[ordinal].append(key)

    if passages:
        point(title, 0)
    ordinal = 0
    for block in parsed.blocks:
        if block.kind is BlockKind.HEADING and block.heading_path:
            while ordinal < len(passages) - 1 and passages[ordinal].end <= block.start:
                ordinal += 1
            point(block.heading_path[-1], ordinal)
    return tuple(
        replace(passage, about=tuple(keys), words=" ".join(words(parsed.text[passage.start : passage.end])))
        for passage, keys in zip(passages, about, strict=True)
    )


def entities_of(chunks: Sequence[Chunk], passages: Sequence[Passage]) -> list[ChunkEntities]:
    """The graph's records of chunks that were made from these passages."""
    return [
        ChunkEntities(
            chunk_id=chunk.chunk_id,
            document_id=chunk.document_id,
            version=chunk.version,
            ordinal=chunk.ordinal,
            about=passage.about,
            tokens=tuple(passage.words.split(" ")) if passage.words else (),
        )
        for chunk, passage in zip(chunks, passages, strict=True)
    ]
