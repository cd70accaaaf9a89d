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
WATCH_JOBS = 200
"""How many jobs one WatchJobs takes by id."""

FINAL = {job_pb2.JOB_STATE_READY, job_pb2.JOB_STATE_DEAD_LETTERED, job_pb2.JOB_STATE_CANCELLED}


@dataclass(slots=True)
class Report:
    """What became of the documents sent."""

    batch_id: str
    sent: int = 0
    joined: list[str] = field(default_factory=list)  # jobs of an earlier run that are still under way
    unchanged: int = 0
    ready: int = 0
    failures: dict[str, str] = field(default_factory=dict)  # document id -> one sentence

    @property
    def handled(self) -> int:
        """Files looked at: sent, or found to need no sending."""
        return self.sent + len(self.joined) + self.unchanged + len(self.failures)

    @property
    def finished(self) -> int:
        """Files that nothing more will happen to."""
        return self.unchanged + self.ready + len(self.failures)


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


def first_failure(report: Report) -> str:
    """`3 documents were refused; the first, notes.md: holds no text`."""
    document_id, sentence = next(iter(report.failures.items()))
    count = len(report.failures)
    return f"{count} document{'s were' if count > 1 else ' was'} refused; the first, {document_id}: {sentence}"


@dataclass(frozen=True, slots=True)
class Known:
    """What the collection has of a document: its hash, and the job that still works on it; "" when it is READY."""

    content_sha256: str
    job_id: str


async def known_documents(client: Client, collection_id: str) -> dict[str, Known]:
    """What a run that was cut off need not send again, by document id: documents that are READY, and those accepted
    whose job has not ended."""
    jobs = await _open_jobs(client, collection_id)
    known: dict[str, Known] = {}
    token = ""
    while True:
        page = await client.documents.ListDocuments(
            documents_pb2.ListDocumentsRequest(collection_id=collection_id, page_size=200, page_token=token),
            timeout=30,
        )
        for document in page.documents:
            job_id = jobs.get((document.document_id, document.latest_version), "")
            pending = job_id and not document.active_version  # else the hash shown is that of the active version
            if pending or (document.active_version and document.active_version == document.latest_version):
                known[document.document_id] = Known(document.content_sha256, job_id)
        token = page.next_page_token
        if not token:
            return known


async def _open_jobs(client: Client, collection_id: str) -> dict[tuple[str, int], str]:
    """(document id, version) -> id of every job that has not ended."""
    found: dict[tuple[str, int], str] = {}
    for state in (job_pb2.JOB_STATE_ACCEPTED, job_pb2.JOB_STATE_RUNNING):
        token = ""
        while True:
            page = await client.jobs.ListJobs(
                jobs_pb2.ListJobsRequest(collection_id=collection_id, state=state, page_size=200, page_token=token),
                timeout=30,
            )
            found.update({(job.document_id, job.version): job.job_id for job in page.jobs})
            token = page.next_page_token
            if not token:
                break
    return found


async def send_files(
    client: Client,
    collection_id: str,
    files: Sequence[SourceFile],
    batch_id: str,
    progress: Progress,
    *,
    again: bool = False,
) -> Report:
    """Send files that the collection does not hold already, byte for byte; again: those too. A file that is refused is
    reported and does not stop the others."""
    report = Report(batch_id)
    known = {} if again else await known_documents(client, collection_id)
    for file in files:
        try:
            data = file.path.read_bytes()
        except OSError as error:
            report.failures[file.document_id] = f"cannot be read: {error.strerror}"
            continue
        if not _is_text(file.document_id):
            report.failures[ascii(file.document_id)] = "its name is not valid UTF-8; rename it"
            continue
        there = known.get(file.document_id)
        if there is not None and there.content_sha256 == hashlib.sha256(data).hexdigest():
            if there.job_id:
                report.joined.append(there.job_id)
            else:
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


def _is_text(name: str) -> bool:
    """Whether a file name came from valid UTF-8; Python keeps other bytes as lone surrogates."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


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
    """Wait until every job of the batch, and every one joined, has ended, filling the report."""
    watches = [
        jobs_pb2.WatchJobsRequest(job_ids=report.joined[start : start + WATCH_JOBS], final_only=True)
        for start in range(0, len(report.joined), WATCH_JOBS)
    ]
    if report.sent:
        watches.append(jobs_pb2.WatchJobsRequest(batch_id=report.batch_id, final_only=True))
    done: set[str] = set()
    for watch in watches:
        async for event in client.jobs.WatchJobs(watch, timeout=WAIT_SECONDS):
            job = event.job
            if job.state not in FINAL or job.job_id in done:
                continue
            done.add(job.job_id)
            if job.state == job_pb2.JOB_STATE_READY:
                report.ready += 1
            else:
                report.failures[job.document_id] = job.failure.message or "was cancelled"
            progress(report)
    expected = report.sent + len(report.joined)
    if len(done) < expected:
        raise Failure(f"the mesh stopped reporting after {len(done)} of {expected} documents; run the command again")
