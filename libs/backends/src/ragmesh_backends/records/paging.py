"""Where a listing goes on, in the terms of both record stores."""

from __future__ import annotations

from ragmesh_backends.model.document import VersionRecord
from ragmesh_backends.records.clock import to_microseconds


def pending_place(after: VersionRecord | None) -> tuple[int, str, str, str, int]:
    """The place of a version in the listing of pending ones: its last change (microseconds), tenant, index, document
    and number. None: before the first."""
    if after is None:
        return (0, "", "", "", 0)
    index = after.index
    return (to_microseconds(after.changed_at), index.tenant, index.name, after.document_id, after.version)
