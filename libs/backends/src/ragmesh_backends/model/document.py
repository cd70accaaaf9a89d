"""Documents, their versions and their chunks."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class DocumentState(StrEnum):
    """PENDING: no version is searchable yet. READY: one is (a newer one may be on its way).
    FAILED: the newest version could not be ingested and no older one is there."""

    PENDING = "PENDING"
    READY = "READY"
    FAILED = "FAILED"


class MediaType(StrEnum):
    """The types that can be ingested."""

    TEXT = "text/plain"
    MARKDOWN = "text/markdown"
    HTML = "text/html"


@dataclass(frozen=True, slots=True)
class Document:
    tenant: str
    collection_id: str
    document_id: str
    title: str
    media_type: MediaType
    size_bytes: int
    content_sha256: str
    state: DocumentState
    active_version: int  # 0: none yet
    latest_version: int
    chunk_count: int  # of the active version
    metadata: dict[str, str]
    created_at: datetime
    updated_at: datetime
    failure: str = ""  # one sentence when the newest version failed


@dataclass(frozen=True, slots=True)
class Chunk:
    """A passage. start and end are a half-open range of Unicode code points of the stored parsed text;
    text == parsed_text[start:end]. heading_path runs from the outermost heading to the innermost."""

    chunk_id: str  # f"{document_id}:{version}:{ordinal}" hashed: see ingestor.domain
    document_id: str
    version: int
    ordinal: int
    text: str
    title: str
    heading_path: tuple[str, ...]
    start: int
    end: int
    page: int | None = None


@dataclass(frozen=True, slots=True)
class ChunkRow:
    """A chunk as the vector store holds it: everything that a hit needs, so that a search works while the record
    store is down. access: groups that may see it; empty means everyone of the tenant."""

    chunk: Chunk
    vector: NDArray[np.float32]  # (dimension,), unit norm
    access: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ScoredChunk:
    """A chunk with the raw score of one leg, higher is better: cosine for dense, BM25 for bm25. vector is set
    only when it was asked for."""

    chunk: Chunk
    score: float
    vector: NDArray[np.float32] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, order=True)
class DocumentVersion:
    document_id: str
    version: int
