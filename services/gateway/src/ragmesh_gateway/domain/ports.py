"""What the gateway needs from the other rooms."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Generic, Protocol, TypeVar

from ragmesh_backends.model.key import KeyRecord
from ragmesh_gateway.domain.answer import AnswerEvent, Found, Question, Source

Hit = TypeVar("Hit")
"""What the retriever found. The domain numbers hits and passes them on; it never looks inside."""


class Retriever(Protocol[Hit]):
    async def search(self, question: Question) -> Found[Hit]:
        """Passages, best first, and the parts that are missing. Raises MeshError."""
        ...


class Generator(Protocol, Generic[Hit]):
    def generate(self, question: Question, sources: Sequence[Source[Hit]]) -> AsyncIterator[AnswerEvent[Hit]]:
        """The answer's events in order: tokens and citations, usage, and Done last; or Degraded before the first token.
        Raises MeshError at any point. Closing the iterator stops the model."""
        ...


class KeyStore(Protocol):
    async def put(self, record: KeyRecord) -> None:
        """Keep a new key; the same record again is fine. Raises AlreadyExists when the id is another one's."""
        ...

    async def get(self, key_id: str) -> KeyRecord:
        """The record, also when it is revoked or expired. Raises NotFound when there is none; Unavailable."""
        ...

    async def list(self, tenant: str, after: str, limit: int) -> Sequence[KeyRecord]:
        """The tenant's keys with an id greater than `after`, sorted by id."""
        ...

    async def revoke(self, tenant: str, key_id: str) -> KeyRecord:
        """Set revoked_at once; the record as it is now. Raises NotFound for another tenant's as for none."""
        ...
