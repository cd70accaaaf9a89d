"""Sending files to the mesh and following their jobs."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field

import grpc
import grpc.aio

from ragmesh.common.v1 import document_pb2, job_pb2
from ragmesh.gateway.v1 import collections_pb2, documents_pb2, jobs_pb2
from ragmesh_cli.client import Client
from ragmesh_cli.failure import Failure
from ragmesh_cli.files import SourceFile
from ragmesh_servicekit.status import error_of_call

BATCH_DOCUMENTS = 100
BATCH_BYTES = 4 * 1024 * 1024
UPLOAD_PIECE_BYTES = 512 * 1024
WAIT_SECONDS = 24 * 3600.0
FINAL = {job_pb2.JOB_STATE_READY, job_pb2.JOB_STATE_DEAD_LETTERED, job_pb2.JOB_STATE_CANCELLED}


@dataclass(slots=True)
class Report:
    """What became of the documents sent."""

    batch_id: str
    sent: int = 0
    unchanged: int = 0
    ready: int = 0
    failures: dict[str, str] = field(default_factory=dict)  # document id -> one sentence

    @property
    def finished(self) -> int:
        return self.ready + len(self.failures)


Progress = Callable[[Report], None]


async def ensure_collection(client: Client, collection_id: str) -> bool:
    """Make the collection unless it exists; True when it was made."""
    try:
        await client.collections.CreateCollection(
            collections_pb2.CreateCollectionRequest(collection_id=collection_id), timeout=30
        )
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.ALREADY_EXISTS:
            return False
        raise
    return True


async def known_hashes(client: Client, collection_id: str) -> dict[str, str]:
    """document id -> SHA-256 of every READY document: what a run that was cut off need not send again."""
    known: dict[str, str] = {}
    token = ""
    while True:
        page = await client.documents.ListDocuments(
            documents_pb2.ListDocumentsRequest(collection_id=collection_id, page_size=200, page_token=token),
            timeout=30,
        )
        for document in page.documents:
            if document.active_version and document.active_version == document.latest_version:
                known[document.document_id] = document.content_sha256
        token = page.next_page_token
        if not token:
            return known


async def send_files(
    client: Client, collection_id: str, files: Sequence[SourceFile], batch_id: str, progress: Progress
) -> Report:
    """Send files that the collection does not hold already, byte for byte. A file that is refused is reported and does
    not stop the others."""
    report = Report(batch_id)
    known = await known_hashes(client, collection_id)
    for file in files:
        try:
            data = file.path.read_bytes()
        except OSError as error:
            report.failures[file.document_id] = f"cannot be read: {error.strerror}"
            continue
        digest = hashlib.sha256(data).hexdigest()
        if known.get(file.document_id) == digest:
            report.unchanged += 1
            progress(report)
            continue
        header = documents_pb2.UploadHeader(
            collection_id=collection_id,
            document_id=file.document_id,
            file_name=file.path.name,
            media_type=file.media_type,
            batch_id=batch_id,
        )
        try:
            await client.documents.UploadDocument(_pieces(header, data), timeout=120)
            report.sent += 1
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.INVALID_ARGUMENT:
                raise
            report.failures[file.document_id] = error_of_call(error).message
        progress(report)
    return report


async def _pieces(
    header: documents_pb2.UploadHeader, data: bytes
) -> AsyncIterator[documents_pb2.UploadDocumentRequest]:
    yield documents_pb2.UploadDocumentRequest(header=header)
    for start in range(0, len(data), UPLOAD_PIECE_BYTES):
        yield documents_pb2.UploadDocumentRequest(data=data[start : start + UPLOAD_PIECE_BYTES])


async def send_texts(
    client: Client, collection_id: str, documents: Sequence[document_pb2.DocumentInput], batch_id: str
) -> Report:
    """Send documents as text, many in a call."""
    report = Report(batch_id)
    for batch in _batches(documents):
        request = documents_pb2.BatchCreateDocumentsRequest(
            collection_id=collection_id, documents=batch, batch_id=batch_id
        )
        await client.documents.BatchCreateDocuments(request, timeout=120)
        report.sent += len(batch)
    return report


def _batches(documents: Sequence[document_pb2.DocumentInput]) -> Iterator[list[document_pb2.DocumentInput]]:
    batch: list[document_pb2.DocumentInput] = []
    size = 0
    for document in documents:
        if batch and (len(batch) >= BATCH_DOCUMENTS or size + document.ByteSize() > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(document)
        size += document.ByteSize()
    if batch:
        yield batch


async def follow(client: Client, report: Report, progress: Progress) -> None:
    """Wait until every job of the batch has ended, filling the report."""
    if not report.sent:
        return
    done: set[str] = set()
    call = client.jobs.WatchJobs(
        jobs_pb2.WatchJobsRequest(batch_id=report.batch_id, final_only=True), timeout=WAIT_SECONDS
    )
    async for event in call:
        job = event.job
        if job.state not in FINAL or job.job_id in done:
            continue
        done.add(job.job_id)
        if job.state == job_pb2.JOB_STATE_READY:
            report.ready += 1
        else:
            report.failures[job.document_id] = job.failure.message or "was cancelled"
        progress(report)
    if len(done) < report.sent:
        raise Failure(f"the mesh stopped reporting after {len(done)} of {report.sent} documents; run the command again")
