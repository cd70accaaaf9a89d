"""What a search is asked and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from ragmesh_backends.model.document import Chunk
from ragmesh_backends.model.search import SearchFilter


class SearchMode(StrEnum):
    """How passages are found: by meaning, by words, both fused, or both fused and joined by links."""

    DENSE = "DENSE"
    BM25 = "BM25"
    HYBRID = "HYBRID"
    GRAPH = "GRAPH"


class Part(StrEnum):
    """A leg that can be missing from an answer, by the names of the contract."""

    DENSE = "DENSE"
    BM25 = "BM25"
    GRAPH = "GRAPH"


class Factor(StrEnum):
    """Why a hit stands where it does."""

    DENSE_RANK = "dense_rank"
    BM25_RANK = "bm25_rank"
    DENSE_NORMALISED = "dense_normalised"
    BM25_NORMALISED = "bm25_normalised"
    LINKED_FROM = "linked_from"
    NAMED_BY_QUESTION = "named_by_question"
    COVERAGE = "coverage"
    TITLE = "title"


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """What to search for. `where.groups` are the asker's; max_per_document 0 is no limit."""

    collection_id: str
    query: str
    top_k: int = 10
    mode: SearchMode = SearchMode.GRAPH
    explain: bool = False
    where: SearchFilter = field(default_factory=SearchFilter)
    max_per_document: int = 0


@dataclass(frozen=True, slots=True)
class Scores:
    """Each leg's say, None when the leg did not see the passage. dense: cosine; bm25: raw; graph: what links and the
    question's own naming add, 0 to 1; fused: 0 to 1."""

    dense: float | None = None
    bm25: float | None = None
    graph: float | None = None
    fused: float | None = None


@dataclass(frozen=True, slots=True)
class Reason:
    """value: the rank (from 1) for a rank, the normalised score (0 to 1) for a normalisation, else what the factor
    added to the score. detail: the linking chunk's id or the entity, else empty."""

    factor: Factor
    value: float
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that was found. Scores strictly fall from hit to hit while they are above zero, so that sorting
    by score keeps the order."""

    chunk: Chunk
    score: float
    scores: Scores
    reasons: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True)
class Timing:
    """How long a step took; `name` is a constant (embed, dense, bm25, named, hidden, links, fetch, select)."""

    name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class SearchResult:
    """hits: best first; degraded: the legs that failed and are not in it."""

    hits: tuple[Hit, ...]
    degraded: tuple[Part, ...] = ()
    timings: tuple[Timing, ...] = ()
