"""The first stage of a job: from its delivery to passages that can be embedded.

A job that needs no work any more (its collection or document is gone, its version is active already) or cannot be
done (its original is gone, its content cannot be parsed, its collection's vectors are another model's) ends here,
without touching the others of its group.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ragmesh_backends.model.collection import IndexRef
from ragmesh_backends.model.document import (
    Chunk,
    ChunkRow,
    DocumentVersion,
    MediaType,
    ReadyVersion,
    VersionRecord,
    VersionState,
)
from ragmesh_backends.model.graph import ChunkEntities
from ragmesh_backends.model.job import Delivery, JobState
from ragmesh_ingestor.domain.blob_keys import parsed_key
from ragmesh_ingestor.domain.chunking import chunks_of
from ragmesh_ingestor.domain.entities import entities_of
from ragmesh_ingestor.domain.originals import unpacked
from ragmesh_ingestor.domain.passage import ParsedPassages, ParseFailure, ParseRequest
from ragmesh_ingestor.domain.ports import Blobs, Parser, Records
from ragmesh_servicekit.errors import FailedPrecondition, NotFound, Reason


@dataclass(frozen=True, slots=True)
class Ended:
    """How a job ends. failed_in: the index whose record has still to be told that the version failed; None when it
    knows already, or has nothing to know. Never by the collection's id alone, which another collection may have by
    now."""

    delivery: Delivery
    state: JobState
    reason: str = ""
    message: str = ""
    failed_in: IndexRef | None = None


@dataclass(frozen=True, slots=True)
class Interrupted:
    """A job to try again: it may have been us rather than the document."""

    delivery: Delivery
    index: IndexRef
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Located:
    """A delivery with the version it is for: pending, or active already when an earlier attempt got that far and
    could not say so."""

    delivery: Delivery
    record: VersionRecord

    @property
    def index(self) -> IndexRef:
        return self.record.index


@dataclass(slots=True)
class Prepared:
    """A document on its way to the stores. vectors, (chunks, dimension), is filled by the embedding stage. text: the
    parsed text when it has to be stored, None when it is the original. taken_at: the loop's time of the delivery."""

    delivery: Delivery
    record: VersionRecord
    title: str
    chunks: list[Chunk]
    entities: list[ChunkEntities]
    text: str | None
    taken_at: float
    vectors: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))

    @property
    def index(self) -> IndexRef:
        return self.record.index

    @property
    def version(self) -> DocumentVersion:
        return DocumentVersion(self.record.document_id, self.record.version)

    @property
    def parsed_key(self) -> str:
        return self.record.blob_key if self.text is None else parsed_key(self.record.blob_key)

    def rows(self) -> list[ChunkRow]:
        """What the vector store is given."""
        return [ChunkRow(chunk, vector) for chunk, vector in zip(self.chunks, self.vectors, strict=True)]

    def ready(self) -> ReadyVersion:
        """What the record store is given."""
        return ReadyVersion(
            document_id=self.record.document_id,
            version=self.record.version,
            title=self.title,
            chunks=tuple(self.chunks),
            parsed_key=self.parsed_key,
        )


class Preparer:
    """embedding_model: the one that this mesh embeds with."""

    def __init__(self, records: Records, blobs: Blobs, parser: Parser, embedding_model: str) -> None:
        self._embedding_model = embedding_model
        self._records = records
        self._blobs = blobs
        self._parser = parser

    async def locate(self, deliveries: Sequence[Delivery]) -> list[Located | Ended]:
        """What each delivery is about, in order. Raises Unavailable when the record store does not answer."""
        wanted: dict[tuple[str, str], dict[DocumentVersion, None]] = defaultdict(dict)
        for one in deliveries:
            wanted[one.job.tenant, one.job.collection_id][_version(one)] = None
        found = {
            (*collection, version): record
            for collection, versions in wanted.items()
            for version, record in (await self._records.get_versions(*collection, list(versions))).items()
        }
        located = [
            _located(one, found.get((one.job.tenant, one.job.collection_id, _version(one)))) for one in deliveries
        ]
        foreign = {collection: message for collection in wanted if (message := await self._refusal(*collection))}
        return [_refused(one, foreign) if isinstance(one, Located) else one for one in located]

    async def _refusal(self, tenant: str, collection_id: str) -> str:
        """Why nothing may be embedded for the collection; empty when it may, or when the collection is gone."""
        try:
            (await self._records.get_collection(tenant, collection_id)).require_model(self._embedding_model)
        except NotFound:
            return ""
        except FailedPrecondition as error:
            return error.message
        return ""

    async def prepare(self, located: Sequence[Located], taken_at: float) -> list[Prepared | Ended | Interrupted]:
        """Passages of each document, in order. Raises Unavailable when blobs or the parser do not answer."""
        blobs = await self._blobs.get_many([one.record.blob_key for one in located])
        originals = [None if blob is None else unpacked(blob) for blob in blobs]
        requests = [
            ParseRequest(data, one.record.media_type, one.record.title)
            for one, data in zip(located, originals, strict=True)
            if data is not None
        ]
        parsed = iter(await self._parser.parse(requests))
        results: list[Prepared | Ended | Interrupted] = []
        for one, data in zip(located, originals, strict=True):
            if data is None:
                results.append(
                    Ended(
                        one.delivery,
                        JobState.DEAD_LETTERED,
                        Reason.CONTENT_INVALID,
                        "the stored original is gone; send the document again",
                        failed_in=one.record.index,
                    )
                )
            else:
                results.append(_prepared(one, data, next(parsed), taken_at))
        return results


def _version(delivery: Delivery) -> DocumentVersion:
    return DocumentVersion(delivery.job.document_id, delivery.job.version)


def _located(delivery: Delivery, record: VersionRecord | None) -> Located | Ended:
    if record is None:
        return Ended(delivery, JobState.CANCELLED, message="the collection or the document was deleted")
    if record.job_id not in {"", delivery.job.job_id}:
        # Another collection has the id by now, with a document of the same name: its version has a job of its own.
        return Ended(delivery, JobState.CANCELLED, message="the collection was replaced")
    match record.state:
        case VersionState.PENDING | VersionState.ACTIVE:
            return Located(delivery, record)
        case VersionState.RETIRED:
            return Ended(delivery, JobState.CANCELLED, message="the document was deleted or sent again")
        case VersionState.FAILED:
            return Ended(delivery, JobState.DEAD_LETTERED, Reason.CONTENT_INVALID, record.failure)


def _refused(one: Located, foreign: Mapping[tuple[str, str], str]) -> Located | Ended:
    """What is active already needs no model."""
    message = foreign.get((one.delivery.job.tenant, one.delivery.job.collection_id))
    if message is None or one.record.state is not VersionState.PENDING:
        return one
    return Ended(one.delivery, JobState.DEAD_LETTERED, Reason.STATE_CONFLICT, message, failed_in=one.record.index)


def _prepared(
    one: Located, data: bytes, parsed: ParsedPassages | ParseFailure, taken_at: float
) -> Prepared | Ended | Interrupted:
    record = one.record
    if isinstance(parsed, ParseFailure):
        if parsed.repeatable:
            return Interrupted(one.delivery, record.index, parsed.reason, parsed.message)
        return Ended(one.delivery, JobState.DEAD_LETTERED, parsed.reason, parsed.message, failed_in=record.index)
    chunks = chunks_of(parsed.text, record.document_id, record.version, parsed.title, parsed.passages)
    return Prepared(
        delivery=one.delivery,
        record=record,
        title=parsed.title,
        chunks=chunks,
        entities=entities_of(chunks, parsed.passages),
        text=parsed.text if record.media_type is MediaType.HTML else None,
        taken_at=taken_at,
    )
