"""Making a backup while the mesh goes on.

Each collection is listed at one moment, and what the listing shows is copied. What has changed meanwhile is copied
again from a new listing, until a whole listing was copied before any of it changed: the backup then is the collection
as it was when that listing was taken. A retired version's rows stay for some seconds, and every reading says whether
it is whole, so a document is in a backup as one version or not at all.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial

from ragmesh_backends.model.collection import Collection
from ragmesh_backends.model.copies import DELETED, DocumentCopy, DocumentMark
from ragmesh_backends.model.document import ChunkRow
from ragmesh_ingestor.backup.archive import ArchiveWriter
from ragmesh_ingestor.backup.entries import (
    blob_entry,
    collection_facts,
    document_entry,
    entities_entry,
    key_entry,
    row_entry,
)
from ragmesh_ingestor.backup.stores import Stores, waited
from ragmesh_servicekit.errors import FailedPrecondition, NotFound

GROUP_DOCUMENTS = 64
GROUP_CHUNKS = 512
"""Of one group, unless a single document has more."""
PART_ROWS = 256
PART_BLOB_BYTES = 8 * 1024 * 1024
KEYS_PAGE = 500
MAX_LISTINGS = 40
"""Of one collection. Each but the first copies only what changed during the one before; documents that never hold
still are left as they were copied last, or left out."""
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0
"""Between two listings, twice the one before each time: without them 40 listings of a small collection are over in the
second in which one document is written."""

Tell = Callable[[str, int, int], None]
"""stage, done, total."""
Pause = Callable[[float], Awaitable[None]]
"""Return after so many seconds."""


class Backup:
    """One backup. tenant: of which, "" for all."""

    def __init__(self, stores: Stores, writer: ArchiveWriter, tell: Tell, pause: Pause = asyncio.sleep) -> None:
        self._stores, self._writer, self._tell, self.pause = stores, writer, tell, pause
        self._groups = 0
        self._done = self._total = 0

    async def run(self) -> None:
        """Write everything but the end of the file. Raises FailedPrecondition when the stores have lost something
        that the record names, and the stores' own errors."""
        manifest = self._writer.manifest
        collections = await waited(lambda: self._stores.record.copies.collections(manifest.tenant))
        self._total = sum(c.documents_ready + c.documents_pending + c.documents_failed for c in collections)
        for collection in collections:
            number = len(manifest.collections) + 1
            groups_before = self._groups
            facts = await _Copier(self, number, collection).run()
            if facts is None:  # deleted meanwhile: nothing of it is in the backup
                for part in [part for part in manifest.parts if part.group > groups_before]:
                    manifest.superseded.pop(part.group, None)
                manifest.collections.append({**collection_facts(collection), "deleted": True})
            else:
                manifest.collections.append(facts)
        await self._keys(manifest.tenant)

    async def _keys(self, tenant: str) -> None:
        after = ""
        while page := await waited(partial(self._stores.record.keys.copies, tenant, after, KEYS_PAGE)):
            self._writer.add("keys", 0, 0, map(key_entry, page))
            self._writer.manifest.keys += len(page)
            after = page[-1].key_id

    def next_group(self) -> int:
        self._groups += 1
        return self._groups

    def copied(self, documents: int) -> None:
        self._done += documents
        self._total = max(self._total, self._done)
        self._tell("backing up", self._done, self._total)

    @property
    def stores(self) -> Stores:
        return self._stores

    @property
    def writer(self) -> ArchiveWriter:
        return self._writer


class _Copier:
    """The backup of one collection."""

    def __init__(self, backup: Backup, number: int, collection: Collection) -> None:
        self._backup, self._number, self._collection = backup, number, collection
        self._index = collection.index
        self._stores, self._writer = backup.stores, backup.writer
        self._copied: dict[str, DocumentMark] = {}
        self._group_of: dict[str, int] = {}

    async def run(self) -> dict[str, object] | None:
        """What the manifest says of the collection; None when it was deleted meanwhile."""
        settled, moment, left_out = False, "", list[str]()
        try:
            for listing in range(MAX_LISTINGS):
                if listing:
                    await self._backup.pause(min(FIRST_PAUSE_SECONDS * 2 ** (listing - 1), LONGEST_PAUSE_SECONDS))
                moment = datetime.now(UTC).isoformat()
                marks = await waited(lambda: self._stores.record.copies.marks(self._index))
                self._drop_missing({mark.document_id for mark in marks})
                changed = [mark for mark in marks if self._copied.get(mark.document_id) != mark]
                late = 0
                for group in _groups(changed):
                    late += await self._copy(group)
                left_out = [
                    mark.document_id
                    for mark in changed
                    if mark.document_id not in self._copied and mark.state != DELETED
                ]
                if not late:
                    settled = True
                    break
        except NotFound:
            if await self._is_gone():
                return None
            raise
        states = Counter(mark.state for mark in self._copied.values())
        deleted = states.pop(DELETED, 0)
        return {
            **collection_facts(self._collection),
            "documents": states.total(),
            "states": dict(states),
            "deleted_documents": deleted,
            "chunks": sum(mark.chunk_count for mark in self._copied.values()),
            "moment": moment,
            "settled": settled,
            "left_out": left_out,
        }

    async def _copy(self, marks: Sequence[DocumentMark]) -> int:
        """Copy these documents as they are marked; how many changed meanwhile and were left out."""
        wanted = {mark.document_id: mark for mark in marks}
        found = await waited(lambda: self._stores.record.copies.copies(self._index, list(wanted)))
        copies = {
            copy.mark.document_id: copy
            for copy in found
            if copy.mark == wanted[copy.mark.document_id] and copy.is_whole()
        }
        group = self._backup.next_group()
        lost = await self._rows(group, copies) | await self._blobs(group, copies)
        if lost:
            await self._require_changed({one: wanted[one] for one in lost})
            self._writer.manifest.superseded[group] = sorted(lost)
        kept = [copy for document_id, copy in copies.items() if document_id not in lost]
        self._writer.add("documents", self._number, group, map(document_entry, kept))
        fresh = 0
        for copy in kept:
            document_id = copy.mark.document_id
            self._drop(document_id)
            fresh += document_id not in self._copied and copy.document is not None
            self._copied[document_id], self._group_of[document_id] = copy.mark, group
        self._backup.copied(fresh)
        return len(marks) - len(kept)

    async def _rows(self, group: int, copies: dict[str, DocumentCopy]) -> set[str]:
        """Write rows and entities of the active versions; the documents of which some are not there."""
        ids = [chunk.chunk_id for copy in copies.values() for chunk in copy.chunks]
        owners = {chunk.chunk_id: one for one, copy in copies.items() for chunk in copy.chunks}
        lost: set[str] = set()
        for at in range(0, len(ids), PART_ROWS):
            part = ids[at : at + PART_ROWS]
            stored = await waited(partial(self._stores.vectors.stored_rows, self._index, part))
            rows = {row.chunk.chunk_id: row for row in stored}
            entities = await waited(partial(self._stores.record.graph.chunks, self._index, part))
            missing = set(part) - rows.keys() | set(part) - {one.chunk_id for one in entities}
            lost |= {owners[chunk_id] for chunk_id in missing}
            ordered: list[ChunkRow] = [rows[chunk_id] for chunk_id in part if chunk_id in rows]
            self._writer.add("rows", self._number, group, map(row_entry, ordered))
            self._writer.add("entities", self._number, group, map(entities_entry, entities))
        return lost

    async def _blobs(self, group: int, copies: dict[str, DocumentCopy]) -> set[str]:
        """Write originals and parsed texts; the documents of which some are not there."""
        wanted = [
            (document_id, key, version.size_bytes)
            for document_id, copy in copies.items()
            for version in copy.versions
            for key in dict.fromkeys((version.blob_key, version.parsed_key))
            if key
        ]
        lost: set[str] = set()
        for part in _slices(wanted):
            found = await waited(partial(self._stores.blobs.get_many, [key for _, key, _ in part]))
            lost |= {one for (one, _, _), data in zip(part, found, strict=True) if data is None}
            self._writer.add(
                "blobs",
                self._number,
                group,
                (
                    blob_entry(one, key, data)
                    for (one, key, _), data in zip(part, found, strict=True)
                    if data is not None
                ),
            )
        return lost

    async def _require_changed(self, marks: dict[str, DocumentMark]) -> None:
        """Raise FailedPrecondition for documents whose parts were not there though nobody changed them."""
        now = await waited(lambda: self._stores.record.copies.copies(self._index, list(marks)))
        same = [copy for copy in now if copy.mark == marks[copy.mark.document_id]]
        if same:
            where = f"`{self._collection.collection_id}` of {self._collection.tenant}"
            raise FailedPrecondition(
                f"the stores do not hold all of {len(same)} document{'' if len(same) == 1 else 's'} of the collection "
                f"{where}, such as `{same[0].mark.document_id}`: see `ragmesh doctor`, and send these documents again "
                "(`ragmesh ingest --again`) or delete them"
            )

    async def _is_gone(self) -> bool:
        live = await waited(lambda: self._stores.record.copies.collections(self._collection.tenant))
        return all(one.index != self._index for one in live)

    def _drop(self, document_id: str) -> None:
        """What was copied of the document is outdated."""
        before = self._group_of.get(document_id)
        if before is not None:
            self._writer.manifest.superseded.setdefault(before, []).append(document_id)

    def _drop_missing(self, there: set[str]) -> None:
        for document_id in [one for one in self._copied if one not in there]:
            self._drop(document_id)
            del self._copied[document_id], self._group_of[document_id]


def _groups(marks: Sequence[DocumentMark]) -> Iterator[list[DocumentMark]]:
    group: list[DocumentMark] = []
    chunks = 0
    for mark in marks:
        if group and (len(group) == GROUP_DOCUMENTS or chunks + mark.chunk_count > GROUP_CHUNKS):
            yield group
            group, chunks = [], 0
        group.append(mark)
        chunks += mark.chunk_count
    if group:
        yield group


def _slices(wanted: Sequence[tuple[str, str, int]]) -> Iterator[list[tuple[str, str, int]]]:
    """Runs of blobs of a bounded size together; a larger one alone."""
    part: list[tuple[str, str, int]] = []
    size = 0
    for one in wanted:
        if part and size + one[2] > PART_BLOB_BYTES:
            yield part
            part, size = [], 0
        part.append(one)
        size += one[2]
    if part:
        yield part
