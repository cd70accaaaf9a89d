"""What a look into a record store finds, whichever kind it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ComponentVersion:
    """found: what the store has; known: what this program knows."""

    component: str
    found: int
    known: int


@dataclass(frozen=True, slots=True)
class IndexExpectation:
    """What the record says of the index of one collection. chunks: of the versions that searches show; None when
    they were not counted, or not in time."""

    tenant: str
    collection_id: str
    name: str
    chunks: int | None


@dataclass(frozen=True, slots=True)
class Inspection:
    """versions: of the components that the store has. missing: constraints and indexes of these that are not there, or
    not whole. collections: all that are not deleted."""

    versions: Sequence[ComponentVersion]
    missing: Sequence[str]
    collections: Sequence[IndexExpectation]
