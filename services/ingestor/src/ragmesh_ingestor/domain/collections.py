"""Collections: made, changed, deleted. What is fixed at creation is decided here."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime

from ragmesh_backends.model.collection import Collection, IndexRef, IndexSpec, Language
from ragmesh_ingestor.domain.ports import Records, Vectors, Visibility
from ragmesh_servicekit.errors import AlreadyExists, NotFound, Reason


class Collections:
    """embedding_model and dimension are those of the embedder that this mesh runs."""

    def __init__(
        self, records: Records, vectors: Vectors, visibility: Visibility, *, embedding_model: str, dimension: int
    ) -> None:
        self._records = records
        self._vectors = vectors
        self._visibility = visibility
        self._embedding_model = embedding_model
        self._dimension = dimension

    async def create(
        self,
        tenant: str,
        collection_id: str,
        *,
        display_name: str = "",
        language: Language = Language.ENGLISH,
        labels: Mapping[str, str] | None = None,
    ) -> Collection:
        """Make an empty collection. The index comes first, so that a collection that is shown can be searched; one
        that nobody came to own is dropped again. AlreadyExists when the id is taken."""
        try:
            await self._records.get_collection(tenant, collection_id)
        except NotFound:
            pass
        else:
            raise AlreadyExists(f"the collection `{collection_id}` exists already", reason=Reason.COLLECTION_EXISTS)
        now = datetime.now(UTC)
        collection = Collection(
            tenant=tenant,
            collection_id=collection_id,
            display_name=display_name or collection_id,
            index=IndexRef(tenant, index_name(tenant, collection_id)),
            spec=IndexSpec(self._embedding_model, self._dimension, language),
            generation=secrets.token_hex(8),
            created_at=now,
            updated_at=now,
            labels=dict(labels or {}),
        )
        try:
            await self._vectors.create_index(collection.index, collection.spec)
            await self._visibility.rebuild(collection.index, ())
            return await self._records.create_collection(collection)
        except AlreadyExists:
            await self._vectors.drop_index(collection.index)  # lost the race: the index is ours alone
            raise

    async def get(self, tenant: str, collection_id: str) -> Collection:
        """NotFound when it is absent or another tenant's."""
        return await self._records.get_collection(tenant, collection_id)

    async def list(self, tenant: str, after: str, limit: int) -> list[Collection]:
        """By id, those greater than `after`."""
        return await self._records.list_collections(tenant, after, limit)

    async def update(
        self, tenant: str, collection_id: str, *, display_name: str | None, labels: Mapping[str, str] | None
    ) -> Collection:
        """Change what is given; None stays."""
        return await self._records.update_collection(tenant, collection_id, display_name=display_name, labels=labels)

    async def delete(self, tenant: str, collection_id: str) -> Collection:
        """Take it from all readers; the sweeper removes its index, graph and blobs."""
        return await self._records.delete_collection(tenant, collection_id)


def index_name(tenant: str, collection_id: str) -> str:
    """A physical name: `c_`, a hash of tenant and collection (a name that tells nothing), and a random generation,
    so that a collection made anew under an old id never meets the old one's rows."""
    owner = hashlib.blake2b(f"{len(tenant)}:{tenant}:{collection_id}".encode(), digest_size=8).hexdigest()
    return f"c_{owner}_{secrets.token_hex(4)}"
