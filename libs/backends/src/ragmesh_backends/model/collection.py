"""Collections: what is fixed when one is made, and where its rows live."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from ragmesh_servicekit.errors import FailedPrecondition


class Language(StrEnum):
    """The analyzer of the BM25 leg: how words are stemmed and which are dropped."""

    ENGLISH = "english"
    GERMAN = "german"
    FRENCH = "french"
    SPANISH = "spanish"
    ITALIAN = "italian"
    PORTUGUESE = "portuguese"
    DUTCH = "dutch"
    NONE = "none"  # words are lower-cased, nothing else


@dataclass(frozen=True, slots=True)
class IndexRef:
    """The physical collection of one (tenant, collection, index generation). `name` is the store's own name for it,
    kept in the record store. The tenant travels with it so that no adapter can be called without one."""

    tenant: str
    name: str


@dataclass(frozen=True, slots=True)
class IndexSpec:
    """What is fixed when a collection is made: changing any of it needs a new generation."""

    embedding_model: str
    dimension: int
    language: Language = Language.ENGLISH
    metric: str = "COSINE"


@dataclass(frozen=True, slots=True)
class Collection:
    tenant: str
    collection_id: str
    display_name: str
    index: IndexRef
    spec: IndexSpec
    generation: str  # random; replaced by every write, so that cached answers go stale at once
    created_at: datetime
    updated_at: datetime
    documents_ready: int = 0
    documents_pending: int = 0
    documents_failed: int = 0
    labels: dict[str, str] = field(default_factory=dict)

    def require_model(self, model_id: str) -> None:
        """FailedPrecondition unless this model made the collection's vectors: those of two models cannot be compared,
        whatever their dimensions."""
        made_by = self.spec.embedding_model
        if made_by != model_id:
            raise FailedPrecondition(
                f"the vectors of the collection `{self.collection_id}` are of the embedding model {made_by}, and "
                f"{model_id} is configured: configure that one again, or ingest into a new collection"
            )


@dataclass(frozen=True, slots=True)
class DroppedIndex:
    """The physical index of a collection that was deleted: nobody can reach it, its rows are still to be swept."""

    index: IndexRef
    collection_id: str
    dropped_at: datetime
