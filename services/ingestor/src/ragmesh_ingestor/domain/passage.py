"""What goes to the parser and what comes back: plain records that cross a process border."""

from __future__ import annotations

from dataclasses import dataclass

from ragmesh_backends.model.document import MediaType


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk before it belongs to a version.

    start, end: half-open range of code points of the parsed text. about: entity keys that this passage is about.
    words: its normalised words joined by blanks, in which mentions of entities are looked for.
    """

    start: int
    end: int
    heading_path: tuple[str, ...]
    about: tuple[str, ...] = ()
    words: str = ""


@dataclass(frozen=True, slots=True)
class ParseRequest:
    """data: the document as it was sent. title: what the client calls it; empty when the document shall say."""

    data: bytes
    media_type: MediaType
    title: str = ""


@dataclass(frozen=True, slots=True)
class ParsedPassages:
    """text: what the offsets refer to. title: the client's, else the document's own, else empty."""

    text: str
    title: str
    passages: tuple[Passage, ...]


@dataclass(frozen=True, slots=True)
class ParseFailure:
    """Why a document cannot be ingested: a Reason's name and a sentence for its owner. repeatable: it may have
    been the parser's process rather than the document (a crash), so another attempt makes sense."""

    reason: str
    message: str
    repeatable: bool = False
