"""A question, and the events of its answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

Hit = TypeVar("Hit")


@dataclass(frozen=True, slots=True)
class Question:
    """top_k and max_tokens: 0 means the default. mode and parts are numbers of the contract's enums."""

    collection_id: str
    text: str
    top_k: int = 0
    mode: int = 0
    document_ids: tuple[str, ...] = ()
    max_tokens: int = 0
    strict: bool = False


@dataclass(frozen=True, slots=True)
class Found(Generic[Hit]):
    hits: tuple[Hit, ...]
    degraded: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Source(Generic[Hit]):
    number: int  # from 1; what a citation names
    hit: Hit


@dataclass(frozen=True, slots=True)
class SourcesFound(Generic[Hit]):
    sources: tuple[Source[Hit], ...]


@dataclass(frozen=True, slots=True)
class Token:
    text: str


@dataclass(frozen=True, slots=True)
class Citation:
    """start and end: where the mark stands in the answer, in code points, end exclusive."""

    number: int
    chunk_id: str
    document_id: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Usage:
    model: str
    prompt_tokens: int
    completion_tokens: int
    estimated: bool


@dataclass(frozen=True, slots=True)
class Degraded:
    parts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Done:
    finish_reason: int
    confidence: float
    cache: int


AnswerEvent = SourcesFound[Hit] | Token | Citation | Usage | Degraded | Done


@dataclass(slots=True)
class Answer(Generic[Hit]):
    """The fold of an answer's events."""

    text: str = ""
    sources: tuple[Source[Hit], ...] = ()
    citations: list[Citation] = field(default_factory=list)
    usage: Usage | None = None
    degraded: tuple[int, ...] = ()
    done: Done | None = None
