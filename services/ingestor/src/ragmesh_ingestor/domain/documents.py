"""Documents that are there: read, listed, deleted; their parsed text and their chunks."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ragmesh_backends.model.document import Chunk, Document, DocumentVersion
from ragmesh_ingestor.domain.blob_keys import is_original
from ragmesh_ingestor.domain.originals import unpacked
from ragmesh_ingestor.domain.ports import Blobs, Records, Visibility
from ragmesh_servicekit.errors import FailedPrecondition, MeshError

MAX_CONTENT_CHARS = 1_000_000


@dataclass(frozen=True, slots=True)
class Content:
    """A range of a parsed text; total_length counts code points of the whole."""

    text: str
    version: int
    total_length: int


class Documents:
    def __init__(self, records: Records, visibility: Visibility, blobs: Blobs) -> None:
        self._records = records
        self._visibility = visibility
        self._blobs = blobs

    async def get(self, tenant: str, collection_id: str, document_id: str) -> Document:
        """NotFound: no such collection or document, or not the tenant's."""
        return await self._records.get_document(tenant, collection_id, document_id)

    async def content(self, tenant: str, collection_id: str, document_id: str, offset: int, limit: int) -> Content:
        """The active version's parsed text from code point `offset` on; limit 0 is the greatest. FailedPrecondition
        while no version is active."""
        document = await self.get(tenant, collection_id, document_id)
        if not document.active_version:
            raise FailedPrecondition(f"document `{document_id}` has no version that is ready")
        text = await self._text(document)
        size = min(limit or MAX_CONTENT_CHARS, MAX_CONTENT_CHARS)
        return Content(text[offset : offset + size], document.active_version, len(text))

    async def chunks(
        self, tenant: str, collection_id: str, document_id: str, after_ordinal: int, limit: int
    ) -> list[Chunk]:
        """Chunks of the active version with their text, in order; empty while none is active."""
        chunks = await self._records.list_chunks(tenant, collection_id, document_id, after_ordinal, limit)
        if not chunks:
            return []
        text = await self._text(await self.get(tenant, collection_id, document_id), chunks[0].version)
        return [replace(chunk, text=text[chunk.start : chunk.end]) for chunk in chunks]

    async def delete(self, tenant: str, collection_id: str, document_id: str) -> None:
        """No search that starts after the return finds it; its rows are swept later. Its versions are hidden before
        the record changes, so that a reader never sees what the record no longer knows."""
        document = await self.get(tenant, collection_id, document_id)
        index = (await self._records.get_collection(tenant, collection_id)).index
        known = [DocumentVersion(document_id, document.active_version)] if document.active_version else []
        await self._visibility.hide(index, known)
        try:
            versions = await self._records.delete_document(tenant, collection_id, document_id)
        except MeshError:
            await self._visibility.flip(index, known, ())
            raise
        await self._visibility.hide(index, versions)

    async def list(self, tenant: str, collection_id: str, after: str, limit: int) -> list[Document]:
        """By id, those greater than `after`."""
        return await self._records.list_documents(tenant, collection_id, after, limit)

    async def _text(self, document: Document, version: int = 0) -> str:
        record = await self._records.get_version(
            document.tenant, document.collection_id, document.document_id, version or document.active_version
        )
        blob = await self._blobs.get(record.parsed_key)
        # The parsed text of plain text and Markdown is the original less its byte order mark.
        return (unpacked(blob) if is_original(record.parsed_key) else blob).decode("utf-8-sig")
