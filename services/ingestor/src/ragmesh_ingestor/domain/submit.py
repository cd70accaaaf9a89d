"""Submit: documents are checked, made durable, and promised as jobs.

The order is what makes the promise safe:

    check all -> original and manifest durable -> versions begun -> versions hidden -> jobs queued -> answer

Nothing is visible before the worker flips a version. What is begun but not queued, because this process or a
store failed in between, is either failed at once or found by the reconciler and queued then.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from ragmesh_backends.model.collection import Collection
from ragmesh_backends.model.document import DocumentVersion, MediaType, NewVersion
from ragmesh_backends.model.job import Job, JobSubmission
from ragmesh_ingestor.domain import media
from ragmesh_ingestor.domain.blob_keys import original_key
from ragmesh_ingestor.domain.originals import packed
from ragmesh_ingestor.domain.ports import Blobs, Queue, Records, Visibility
from ragmesh_servicekit.errors import Aborted, FieldViolation, InvalidArgument, MeshError
from ragmesh_servicekit.identity import Identity

log = structlog.get_logger()

_THREAD_BYTES = 256 * 1024
"""Content above this is checked and hashed in a thread, so that the loop goes on answering."""


@dataclass(frozen=True, slots=True)
class DocumentInput:
    """A document as it came. What is empty is decided here: the id is made, the title is the content's, the type
    follows the file's name."""

    data: bytes
    document_id: str = ""
    title: str = ""
    file_name: str = ""
    media_type: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Checked:
    document: DocumentInput
    media_type: MediaType
    sha256: str


class Submit:
    def __init__(
        self,
        records: Records,
        visibility: Visibility,
        blobs: Blobs,
        queue: Queue,
        *,
        embedding_model: str,
        max_content_bytes: int = media.MAX_CONTENT_BYTES,
    ) -> None:
        self._records = records
        self._visibility = visibility
        self._blobs = blobs
        self._queue = queue
        self._embedding_model = embedding_model
        self._max_content_bytes = max_content_bytes

    async def __call__(
        self,
        identity: Identity,
        collection_id: str,
        documents: Sequence[DocumentInput],
        *,
        batch_id: str = "",
        request_id: str = "",
        traceparent: str = "",
        fields: Sequence[str] | None = None,
    ) -> list[Job]:
        """One job for each document, in order; all are taken or none.

        fields: what to call each document in a refusal (`documents[3]`); None for a single one.
        Raises InvalidArgument naming the document and the limit; NotFound: no such collection;
        FailedPrecondition: its vectors are another model's; Aborted: the
        request_id was used with another payload; Unavailable: a store does not answer, try again (with the same
        request_id, so that nothing is taken twice).
        """
        collection = await self._records.get_collection(identity.tenant, collection_id)
        collection.require_model(self._embedding_model)
        checked = await self._check(documents, fields)
        digest = _digest(collection_id, checked)
        if request_id:
            known = await self._queue.find_request(identity.tenant, request_id)
            if known is not None:
                if known.payload_digest != digest:
                    raise Aborted(f"request_id: `{request_id}` was used with another payload")
                return list(known.jobs)
        seed = (
            f"{len(identity.tenant)}:{identity.tenant}:{request_id}:{digest}" if request_id else secrets.token_hex(16)
        )
        versions = [
            _new_version(collection, one, identity, batch_id, _job_id(seed, ordinal))
            for ordinal, one in enumerate(checked)
        ]
        await self._blobs.put_many(_blobs(collection, checked, versions, traceparent))
        return await self._promise(identity, collection, versions, batch_id, request_id, digest, traceparent)

    async def _promise(
        self,
        identity: Identity,
        collection: Collection,
        items: list[NewVersion],
        batch_id: str,
        request_id: str,
        digest: str,
        traceparent: str,
    ) -> list[Job]:
        begun: list[DocumentVersion] = []
        try:
            begun = await self._records.begin_versions(collection.index, items)
            await self._visibility.hide(collection.index, begun)
        except MeshError:
            # Under a request_id the same versions and blobs may be another call's, which goes on.
            if not request_id:
                await self._undo(collection, items, begun)
            raise
        submissions = [
            JobSubmission(
                job_id=item.job_id,
                tenant=identity.tenant,
                principal=identity.principal,
                groups=identity.groups,
                collection_id=collection.collection_id,
                document_id=version.document_id,
                version=version.version,
                batch_id=batch_id,
                request_id=request_id,
                payload_digest=digest,
                traceparent=traceparent,
            )
            for item, version in zip(items, begun, strict=True)
        ]
        try:
            return await self._queue.submit(submissions)
        except Aborted:  # another payload won the race for this request_id
            await self._undo(collection, items, begun)
            raise
        # Any other error leaves the versions pending: the queue may have taken the jobs, and if it has not, the
        # reconciler submits them.

    async def _undo(self, collection: Collection, items: list[NewVersion], begun: list[DocumentVersion]) -> None:
        """Take back what no job will ever finish. What cannot be taken back now is found by the reconciler."""
        try:
            for version in begun:
                await self._records.fail_version(
                    collection.index,
                    version.document_id,
                    version.version,
                    "the document could not be taken in; send it again",
                )
            if not begun:
                await self._blobs.delete_many([item.blob_key for item in items])
        except MeshError as error:
            log.warning("submit.undo_failed", reason=error.reason, documents=len(items))

    async def _check(self, documents: Sequence[DocumentInput], fields: Sequence[str] | None) -> list[_Checked]:
        size = sum(len(document.data) for document in documents)
        if size <= _THREAD_BYTES:
            return self._check_all(documents, fields)
        return await asyncio.to_thread(self._check_all, documents, fields)

    def _check_all(self, documents: Sequence[DocumentInput], fields: Sequence[str] | None) -> list[_Checked]:
        checked = []
        for ordinal, document in enumerate(documents):
            try:
                media.check_size(len(document.data), self._max_content_bytes)
                media_type = media.resolve_type(document.media_type, document.file_name)
                media.decode(document.data, media_type, self._max_content_bytes)
            except InvalidArgument as error:
                if fields is None:
                    raise
                raise _named(error, fields[ordinal]) from error
            checked.append(_Checked(document, media_type, hashlib.sha256(document.data).hexdigest()))
        return checked


def _named(error: InvalidArgument, name: str) -> InvalidArgument:
    """The refusal of one document of several, with its place."""
    return InvalidArgument(
        f"{name}.{error.message}",
        reason=error.reason,
        violations=[FieldViolation(f"{name}.{v.field}", v.description) for v in error.violations],
        metadata=error.metadata,
    )


def _digest(collection_id: str, checked: Sequence[_Checked]) -> str:
    """What must be equal for a request to be the same request."""
    facts = [
        [c.document.document_id, c.document.title, c.document.file_name, c.media_type, c.sha256]
        + [[key, value] for key, value in sorted(c.document.metadata.items())]
        for c in checked
    ]
    return hashlib.sha256(json.dumps([collection_id, facts]).encode()).hexdigest()


def _job_id(seed: str, ordinal: int) -> str:
    """The same for a request that is repeated: its versions are then begun once."""
    return hashlib.blake2b(f"{seed}:{ordinal}".encode(), digest_size=16).hexdigest()


def _new_version(
    collection: Collection, checked: _Checked, identity: Identity, batch_id: str, job_id: str
) -> NewVersion:
    document = checked.document
    return NewVersion(
        document_id=document.document_id or f"doc_{job_id}",
        title=document.title,
        media_type=checked.media_type,
        size_bytes=len(document.data),
        content_sha256=checked.sha256,
        blob_key=original_key(collection.index, job_id),
        job_id=job_id,
        principal=identity.principal,
        groups=identity.groups,
        batch_id=batch_id,
        metadata=dict(document.metadata),
    )


def _blobs(
    collection: Collection, checked: Sequence[_Checked], versions: Sequence[NewVersion], traceparent: str
) -> dict[str, bytes]:
    """Originals with their manifests."""
    blobs: dict[str, bytes] = {}
    for one, version in zip(checked, versions, strict=True):
        manifest = {
            "tenant": collection.tenant,
            "collection_id": collection.collection_id,
            "job_id": version.job_id,
            "batch_id": version.batch_id,
            "document_id": version.document_id,
            "title": version.title,
            "file_name": one.document.file_name,
            "media_type": version.media_type,
            "size_bytes": version.size_bytes,
            "content_sha256": version.content_sha256,
            "metadata": version.metadata,
            "principal": version.principal,
            "groups": version.groups,
            "traceparent": traceparent,
        }
        blobs[version.blob_key] = packed(manifest, one.document.data)
    return blobs
