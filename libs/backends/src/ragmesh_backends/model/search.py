"""What narrows a search of one index."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SearchFilter:
    """groups: the groups of the asker; a chunk with a non-empty access list is seen only when they share one.
    document_ids: when not empty, only chunks of these documents."""

    groups: tuple[str, ...] = ()
    document_ids: tuple[str, ...] = ()
