"""What a backup takes of a document, and puts back: the record as it is, whichever store it is in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from ragmesh_backends.model.collection import Collection
from ragmesh_backends.model.document import Chunk, Document, VersionRecord, VersionState

DELETED = "DELETED"
"""The state of a document that is gone; what is left of it is its last version number, which is never given again."""

STAGED_AT = datetime(9999, 12, 31, tzinfo=UTC)
"""When a collection that is being restored counts as deleted: nobody finds it, and no sweeper's turn comes before the
restore has ended."""


@dataclass(frozen=True, slots=True)
class DocumentMark:
    """A document as a listing shows it; another mark means that something of it has changed. state: a DocumentState's
    name, or DELETED. updated_us: microseconds since 1970 UTC."""

    document_id: str
    state: str
    active_version: int  # 0: none
    latest_version: int
    chunk_count: int
    updated_us: int


@dataclass(frozen=True, slots=True)
class Published:
    """What a restore has changed. replaced: collections that were taken away; None when all was shown already, by the
    same call whose reply was lost. kept_keys: ids of the keys that were there as other records, and stayed."""

    replaced: tuple[Collection, ...] | None
    kept_keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DocumentCopy:
    """All that the record holds of a document but what is to be swept. document: None when it is deleted. versions: the
    active one, those that wait and those that failed. chunks: of the active version, without their texts."""

    mark: DocumentMark
    document: Document | None
    versions: tuple[VersionRecord, ...] = ()
    chunks: tuple[Chunk, ...] = ()

    @property
    def active(self) -> VersionRecord | None:
        return next((one for one in self.versions if one.state is VersionState.ACTIVE), None)

    def is_whole(self) -> bool:
        """Whether its parts belong together: false of one that was read while it changed, in a store that takes no
        snapshots."""
        if not self.mark.active_version:
            return self.active is None and not self.chunks
        active = self.active
        return (
            active is not None
            and active.version == self.mark.active_version
            and len(self.chunks) == (active.chunk_count)
        )
