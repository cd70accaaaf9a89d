"""Restoring a backup: everything is written where nobody looks, and shown at one moment at the end.

A collection gets a new index, so that nothing of it meets what is there already, and counts as deleted until all is
written and read back. A restore that is cut off leaves the mesh as it was; the next one clears away what it left.
Documents that waited get new jobs: a queue that outlived the record may know the old ones as ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from ragmesh_backends.model.collection import Collection, IndexRef
from ragmesh_backends.model.copies import DocumentCopy, Published
from ragmesh_backends.model.document import Chunk, DocumentVersion, VersionRecord, VersionState
from ragmesh_backends.model.key import KeyRecord
from ragmesh_ingestor.backup.archive import ArchiveReader, Entry, Part
from ragmesh_ingestor.backup.checking import Tell
from ragmesh_ingestor.backup.entries import collection_of, document_of, entities_of, key_of, row_of
from ragmesh_ingestor.backup.stores import Stores, waited
from ragmesh_ingestor.domain.blob_keys import index_prefix
from ragmesh_ingestor.domain.collections import index_name
from ragmesh_ingestor.domain.patience import patiently
from ragmesh_servicekit.errors import DeadlineExceeded, FailedPrecondition, Internal, MeshError, Unavailable

ABANDON_SECONDS = 5.0
PUBLISH_SECONDS = 60.0
"""For the reply of the moment in which all is shown."""
LAST_MOMENT_SECONDS = 10.0
"""Of them after a signal."""
SHOWN = 3
"""Collections named in one sentence."""


@dataclass(frozen=True, slots=True)
class Restored:
    """replaced: collections that were there and have been taken away. kept_keys: those of the backup that were there
    already and stayed as they are, revoked ones among them."""

    replaced: tuple[Collection, ...]
    new_keys: int
    kept_keys: int


class Restore:
    """One restore of a backup that was checked."""

    def __init__(self, stores: Stores, reader: ArchiveReader, tell: Tell) -> None:
        self._stores, self._reader, self._tell = stores, reader, tell
        self._manifest = reader.manifest
        self._collections: dict[int, Collection] = {}
        self._staged: list[IndexRef] = []
        self._chunks: dict[str, list[Chunk]] = defaultdict(list)  # of the group in hand, by document

    async def run(self, *, replace: bool) -> Restored:
        """Raises FailedPrecondition when the tenants have collections and `replace` is not set; Aborted when another
        restore began meanwhile; the stores' own errors. The mesh is then as it was, unless the error says otherwise."""
        tenants = list(dict.fromkeys(facts["tenant"] for facts in self._manifest.live()))
        if not replace:
            await self._require_empty(tenants)
        for tenant in tenants:
            await self._clear(await self._stores.record.copies.staged(tenant))
        try:
            await self._write()
            return await self._publish(tenants, replace=replace)
        except BaseException:
            await asyncio.shield(self._abandon())
            raise

    async def _publish(self, tenants: Sequence[str], *, replace: bool) -> Restored:
        """The one step that takes effect, with the keys in it. It may have taken effect though its reply was lost, so
        it is repeated until there is one; a signal that comes meanwhile waits for that too, but not for long."""
        keys = await self._keys()
        before = await self._live(tenants) if replace else []

        async def publish() -> Published:
            copies = self._stores.record.copies
            try:
                return await patiently(
                    "publish",
                    lambda: copies.publish(self._staged, keys, replace=replace),
                    limit_seconds=PUBLISH_SECONDS,
                )
            except (Unavailable, DeadlineExceeded) as error:
                raise Unavailable.dependency(
                    "records",
                    "the records store does not answer at the moment in which all would have been shown: when it "
                    "answers again look whether the collections of the backup are there, and if not restore again",
                ) from error

        publishing = asyncio.create_task(publish(), name="restore.publish")
        try:
            published = await asyncio.shield(publishing)
        except asyncio.CancelledError as cancelled:
            try:
                async with asyncio.timeout(LAST_MOMENT_SECONDS):
                    published = await publishing
            except TimeoutError:
                raise cancelled from None
        replaced = before if published.replaced is None else published.replaced
        return Restored(tuple(replaced), len(keys) - len(published.kept_keys), len(published.kept_keys))

    async def _live(self, tenants: Iterable[str]) -> list[Collection]:
        return [one for tenant in tenants for one in await self._stores.record.copies.collections(tenant)]

    async def _require_empty(self, tenants: Iterable[str]) -> None:
        there = await self._live(tenants)
        if there:
            names = ", ".join(f"{one.collection_id} of {one.tenant}" for one in there[:SHOWN])
            more = f" and {len(there) - SHOWN} more" if len(there) > SHOWN else ""
            raise FailedPrecondition(
                f"the mesh has collections already ({names}{more}): with --replace they are deleted at the moment in "
                "which those of the backup appear"
            )

    async def _clear(self, indexes: Sequence[IndexRef]) -> None:
        """Remove what a restore that was cut off has left."""
        await self._stores.record.copies.abandon(indexes)
        for index in indexes:
            await self._stores.vectors.drop_index(index)
            await self._stores.record.graph.drop_index(index)
            await self._stores.blobs.delete_prefix(index_prefix(index))
            await self._stores.record.records.forget_dropped_index(index)

    async def _abandon(self) -> None:
        """Leave what was written to the ingestor's sweeper; when that cannot be said now, to the next restore."""
        with contextlib.suppress(MeshError, TimeoutError):
            async with asyncio.timeout(ABANDON_SECONDS):
                await self._stores.record.copies.abandon(self._staged)

    async def _write(self) -> None:
        for number, facts in enumerate(self._manifest.collections, 1):
            if facts.get("deleted"):
                continue
            index = IndexRef(facts["tenant"], index_name(facts["tenant"], facts["collection_id"]))
            collection = collection_of(facts, index, secrets.token_hex(8))
            self._staged.append(index)
            await waited(partial(self._stores.record.copies.stage, collection))
            await waited(partial(self._stores.vectors.create_index, index, collection.spec))
            self._collections[number] = collection
        total = sum(facts["documents"] for facts in self._manifest.live())
        done, group = 0, 0
        for part in self._manifest.parts:
            if part.collection not in self._collections:
                continue
            if part.group != group:
                group = part.group
                self._chunks.clear()
            outdated = self._manifest.outdated(group)
            entries = [one for one in self._reader.read(part) if one.facts["document_id"] not in outdated]
            done += await self._take(part, self._collections[part.collection], entries)
            self._tell("restoring", min(done, total), total)

    async def _take(self, part: Part, collection: Collection, entries: Sequence[Entry]) -> int:
        """Write one part; how many documents are complete with it."""
        index = collection.index
        if part.kind == "rows":
            rows = [row_of(entry) for entry in entries]
            await waited(lambda: self._stores.vectors.insert(index, rows, keyed=True))
            for row in rows:
                self._chunks[row.chunk.document_id].append(replace(row.chunk, text=""))
        elif part.kind == "entities":
            about = [entities_of(entry) for entry in entries]
            await waited(lambda: self._stores.record.graph.write(index, about))
        elif part.kind == "blobs":
            blobs = {self._moved(entry.facts["key"], part, index): entry.data for entry in entries}
            await waited(lambda: self._stores.blobs.put_many(blobs))
        elif part.kind == "documents":
            copies = [self._copy(entry, part, collection) for entry in entries]
            await self._read_back(index, copies)
            await waited(lambda: self._stores.record.copies.add(index, copies))
            return sum(copy.document is not None for copy in copies)
        return 0

    def _copy(self, entry: Entry, part: Part, collection: Collection) -> DocumentCopy:
        copy = document_of(entry, collection, tuple(self._chunks[entry.facts["document_id"]]))
        versions = tuple(self._version(version, part, collection.index) for version in copy.versions)
        return replace(copy, versions=versions)

    def _version(self, version: VersionRecord, part: Part, index: IndexRef) -> VersionRecord:
        moved = replace(
            version,
            blob_key=self._moved(version.blob_key, part, index),
            parsed_key=self._moved(version.parsed_key, part, index),
        )
        if version.state is VersionState.ACTIVE:
            return moved
        job_id = hashlib.blake2b(f"{index.name}:{version.job_id}".encode(), digest_size=16).hexdigest()
        return replace(moved, job_id=job_id)

    def _moved(self, key: str, part: Part, index: IndexRef) -> str:
        """A blob's key on the new index."""
        facts = self._manifest.collections[part.collection - 1]
        before = index_prefix(IndexRef(facts["tenant"], facts["index_name"]))
        if key and not key.startswith(f"{before}/"):
            raise FailedPrecondition(f"{self._reader.path} names a blob that is not its collection's")
        return key and index_prefix(index) + key.removeprefix(before)

    async def _read_back(self, index: IndexRef, copies: Sequence[DocumentCopy]) -> None:
        expected = {
            DocumentVersion(copy.mark.document_id, copy.mark.active_version): copy.mark.chunk_count
            for copy in copies
            if copy.mark.active_version
        }
        if await waited(lambda: self._stores.vectors.count_versions(index, list(expected))) != expected:
            raise Internal("the vector store did not keep all that was written to it")

    async def _keys(self) -> list[KeyRecord]:
        parts = [part for part in self._manifest.parts if part.kind == "keys"]
        return [key_of(entry) for part in parts for entry in self._reader.read(part)]
