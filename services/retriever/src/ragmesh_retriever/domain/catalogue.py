"""Where a collection's rows live, remembered so that a search works while the record store is down."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

from ragmesh_backends.model.collection import Collection
from ragmesh_retriever.domain.legs import bounded, share_of_remaining
from ragmesh_retriever.domain.ports import Records
from ragmesh_servicekit.errors import DeadlineExceeded, NotFound, Unavailable

ASK_SHARE = 0.3
"""Of the time that a request has left, for asking the record store."""


@dataclass(frozen=True, slots=True)
class _Entry:
    collection: Collection
    read_at: float  # when the record said so
    ask_again_at: float


class Catalogue:
    """A bounded cache of collections by (tenant, collection id), least recently used out first.

    fresh_seconds: an entry is served without asking; so long a new index generation or a deleted collection may go
    unnoticed. stale_seconds: an entry is served when the record store does not answer, which is then not asked
    again for fresh_seconds. That a collection does not exist is never remembered. clock: monotonic seconds.
    """

    def __init__(
        self,
        records: Records,
        *,
        capacity: int = 1024,
        fresh_seconds: float = 5.0,
        stale_seconds: float = 3600.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._records = records
        self._capacity = capacity
        self._fresh_seconds = fresh_seconds
        self._stale_seconds = stale_seconds
        self._clock = clock
        self._entries: OrderedDict[tuple[str, str], _Entry] = OrderedDict()

    async def get(self, tenant: str, collection_id: str) -> Collection:
        """The collection. NotFound when there is none; Unavailable or DeadlineExceeded when the record store does
        not answer and nothing younger than stale_seconds is known."""
        key = (tenant, collection_id)
        entry = self._entries.get(key)
        if entry is not None and self._clock() < entry.ask_again_at:
            self._entries.move_to_end(key)
            return entry.collection
        try:
            ask = self._records.get_collection(tenant, collection_id)
            collection = await bounded("records", share_of_remaining(ASK_SHARE), ask)
        except NotFound:
            self._entries.pop(key, None)
            raise
        except (Unavailable, DeadlineExceeded):
            now = self._clock()
            if entry is None or now - entry.read_at > self._stale_seconds:
                raise
            self._keep(key, replace(entry, ask_again_at=now + self._fresh_seconds))
            return entry.collection
        now = self._clock()
        self._keep(key, _Entry(collection, now, now + self._fresh_seconds))
        return collection

    def forget(self, tenant: str, collection_id: str) -> None:
        """Ask the record next time: what was served turned out to be wrong."""
        self._entries.pop((tenant, collection_id), None)

    def _keep(self, key: tuple[str, str], entry: _Entry) -> None:
        self._entries[key] = entry
        self._entries.move_to_end(key)
        while len(self._entries) > self._capacity:
            self._entries.popitem(last=False)
