"""Reading a backup through: every digest, every count, and that each document has its chunks and its blobs."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable

from ragmesh_backends.model.copies import DELETED
from ragmesh_backends.model.document import VersionState
from ragmesh_ingestor.backup.archive import ArchiveReader, Entry
from ragmesh_servicekit.errors import FailedPrecondition

Tell = Callable[[str, int, int], None]


async def check(reader: ArchiveReader, tell: Tell) -> None:
    """Raise FailedPrecondition, naming what is wrong, for a backup that could not be restored as a whole."""
    await _Check(reader).run(tell)


class _Check:
    def __init__(self, reader: ArchiveReader) -> None:
        self._reader, self._manifest = reader, reader.manifest
        self._documents: Counter[int] = Counter()  # by collection
        self._chunks: Counter[int] = Counter()
        self._keys = 0
        self._rows: dict[str, set[str]] = defaultdict(set)  # of the group in hand, by document
        self._entities: dict[str, set[str]] = defaultdict(set)
        self._blobs: dict[str, set[str]] = defaultdict(set)

    async def run(self, tell: Tell) -> None:
        parts, group = self._manifest.parts, 0
        for at, part in enumerate(parts):
            tell("checking", at, len(parts))
            if part.group != group:
                group = part.group
                self._forget_group()
            entries = await asyncio.to_thread(self._reader.read, part)
            try:
                if part.kind == "keys":
                    self._keys += len({entry.facts["key_id"] for entry in entries})
                elif part.kind == "documents":
                    self._check_documents(part.collection, group, entries)
                else:
                    self._note(part.kind, entries)
            except (KeyError, TypeError, ValueError, IndexError) as error:
                raise FailedPrecondition(f"{self._reader.path} is damaged: {part.name} cannot be read") from error
        tell("checking", len(parts), len(parts))
        self._check_counts()

    def _forget_group(self) -> None:
        for noted in (self._rows, self._entities, self._blobs):
            noted.clear()

    def _note(self, kind: str, entries: list[Entry]) -> None:
        noted = {"rows": self._rows, "entities": self._entities, "blobs": self._blobs}[kind]
        name = "key" if kind == "blobs" else "chunk_id"
        for entry in entries:
            noted[entry.facts["document_id"]].add(entry.facts[name])

    def _check_documents(self, number: int, group: int, entries: list[Entry]) -> None:
        if self._manifest.collection(number) is None:
            return
        outdated = self._manifest.outdated(group)
        for entry in entries:
            document_id, mark = entry.facts["document_id"], entry.facts["mark"]
            if document_id in outdated:
                continue
            self._documents[number] += mark["state"] != DELETED
            self._chunks[number] += mark["chunk_count"]
            rows = self._rows[document_id]
            versions = entry.facts.get("versions", [])
            active = [version for version in versions if version["state"] == VersionState.ACTIVE]
            blobs = {version[name] for version in versions for name in ("blob_key", "parsed_key") if version[name]}
            whole = (
                len(rows) == mark["chunk_count"]
                and rows == self._entities[document_id]
                and len(active) == (mark["active_version"] > 0)
                and blobs <= self._blobs[document_id]
            )
            if not whole:
                raise self._incomplete(f"document `{document_id}` is not all there")

    def _check_counts(self) -> None:
        for number, facts in enumerate(self._manifest.collections, 1):
            if facts.get("deleted"):
                continue
            found = (self._documents[number], self._chunks[number])
            if found != (facts["documents"], facts["chunks"]):
                raise self._incomplete(
                    f"the collection `{facts['collection_id']}` has {found[0]} documents and {found[1]} chunks, not "
                    f"{facts['documents']} and {facts['chunks']}"
                )
        if self._keys != self._manifest.keys:
            raise self._incomplete(f"it has {self._keys} keys, not {self._manifest.keys}")

    def _incomplete(self, what: str) -> FailedPrecondition:
        return FailedPrecondition(f"{self._reader.path} is not whole: {what}")
