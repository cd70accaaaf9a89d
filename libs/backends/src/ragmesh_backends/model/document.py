"""Documents, their versions and their chunks."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ragmesh_backends.model.collection import IndexRef


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


class VersionState(StrEnum):
    """PENDING: its rows are being written. ACTIVE: the one that is searched. RETIRED: replaced, overtaken or deleted,
    its rows are still to be swept. FAILED: could not be ingested; kept with its original until a newer one is
    active."""

    PENDING = "PENDING"
    ACTIVE = "ACTIVE"
    RETIRED = "RETIRED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A version that is about to be ingested. Its number is given by the record store. job_id makes a repeated call
    harmless: the same job of the same document gets the same number. principal and groups are the submitter's."""

    document_id: str
    title: str
    media_type: MediaType
    size_bytes: int
    content_sha256: str
    blob_key: str  # the original
    job_id: str
    principal: str
    groups: tuple[str, ...] = ()
    batch_id: str = ""
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReadyVersion:
    """A version whose rows are all written and read back. Of each chunk the text is not kept in the record store:
    it is a range of the parsed text, which is the blob parsed_key."""

    document_id: str
    version: int
    title: str
    chunks: tuple[Chunk, ...]
    parsed_key: str


class ActivationOutcome(StrEnum):
    """ACTIVATED: it is what readers see now. UNCHANGED: it was active already (the job ran twice).
    SUPERSEDED: a newer version is active, or the document is gone; its rows stay hidden and are swept."""

    ACTIVATED = "ACTIVATED"
    UNCHANGED = "UNCHANGED"
    SUPERSEDED = "SUPERSEDED"


@dataclass(frozen=True, slots=True)
class Activation:
    """What became of one ReadyVersion. retired: the version that was active until now, if there was one."""

    document_id: str
    version: int
    outcome: ActivationOutcome
    retired: DocumentVersion | None = None


@dataclass(frozen=True, slots=True)
class VersionRecord:
    """All that the record store knows of one version. parsed_key is empty until it was activated once."""

    tenant: str
    collection_id: str
    index: IndexRef
    document_id: str
    version: int
    state: VersionState
    title: str
    media_type: MediaType
    size_bytes: int
    content_sha256: str
    metadata: dict[str, str]
    blob_key: str
    parsed_key: str
    job_id: str
    batch_id: str
    principal: str
    groups: tuple[str, ...]
    chunk_count: int
    failure: str
    created_at: datetime
    changed_at: datetime  # of its last change of state


@dataclass(frozen=True, slots=True)
class RetiredVersion:
    """A version whose rows can be deleted from every store, and the blobs that go with them (none for a failed
    version: its original is kept for another try)."""

    index: IndexRef
    version: DocumentVersion
    job_id: str
    blob_keys: tuple[str, ...]
    retired_at: datetime
