"""Between the contract's messages and the domain's records. Pure."""

from __future__ import annotations

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from ragmesh.common.v1 import collection_pb2, document_pb2, errors_pb2, job_pb2
from ragmesh.ingestor.v1 import ingestor_pb2
from ragmesh_backends.model.collection import Collection, Language
from ragmesh_backends.model.document import Chunk, Document
from ragmesh_backends.model.job import Job, JobStage, JobState
from ragmesh_ingestor.domain.submit import DocumentInput


def language(value: collection_pb2.Language.ValueType) -> Language:
    """The analyzer; unspecified, or one that this version does not know, is English."""
    name = collection_pb2.Language.Name(value).removeprefix("LANGUAGE_") if value else "ENGLISH"
    return Language[name]


def collection_message(collection: Collection) -> collection_pb2.Collection:
    return collection_pb2.Collection(
        collection_id=collection.collection_id,
        display_name=collection.display_name,
        language=collection_pb2.Language.Value(f"LANGUAGE_{collection.spec.language.name}"),
        embedding_model=collection.spec.embedding_model,
        dimension=collection.spec.dimension,
        labels=collection.labels,
        documents_ready=collection.documents_ready,
        documents_pending=collection.documents_pending,
        documents_failed=collection.documents_failed,
        create_time=_time(collection.created_at),
        update_time=_time(collection.updated_at),
    )


def document_message(document: Document) -> document_pb2.Document:
    return document_pb2.Document(
        collection_id=document.collection_id,
        document_id=document.document_id,
        title=document.title,
        media_type=document.media_type,
        size_bytes=document.size_bytes,
        content_sha256=document.content_sha256,
        state=document_pb2.DocumentState.Value(f"DOCUMENT_STATE_{document.state}"),
        active_version=document.active_version,
        latest_version=document.latest_version,
        chunk_count=document.chunk_count,
        metadata=document.metadata,
        failure=document.failure,
        create_time=_time(document.created_at),
        update_time=_time(document.updated_at),
    )


def chunk_message(chunk: Chunk) -> document_pb2.Chunk:
    return document_pb2.Chunk(
        chunk_id=chunk.chunk_id,
        document_id=chunk.document_id,
        version=chunk.version,
        ordinal=chunk.ordinal,
        text=chunk.text,
        title=chunk.title,
        heading_path=chunk.heading_path,
        start=chunk.start,
        end=chunk.end,
        page=chunk.page or 0,
    )


def job_message(job: Job) -> job_pb2.Job:
    message = job_pb2.Job(
        job_id=job.job_id,
        collection_id=job.collection_id,
        document_id=job.document_id,
        version=job.version,
        batch_id=job.batch_id,
        state=job_pb2.JobState.Value(f"JOB_STATE_{job.state}"),
        stage=_stage(job.stage),
        done=job.done,
        total=job.total,
        attempt=job.attempt,
        create_time=_time(job.created_at),
        update_time=_time(job.updated_at),
    )
    if job.failure_reason or job.failure_message:
        message.failure.CopyFrom(job_pb2.JobFailure(reason=_reason(job.failure_reason), message=job.failure_message))
    return message


def job_state(value: job_pb2.JobState.ValueType) -> JobState | None:
    return JobState(job_pb2.JobState.Name(value).removeprefix("JOB_STATE_")) if value else None


def document_input(message: document_pb2.DocumentInput) -> DocumentInput:
    return DocumentInput(
        data=message.text.encode(),
        document_id=message.document_id,
        title=message.title,
        media_type=message.media_type or "text/plain",
        metadata=dict(message.metadata),
    )


def upload_input(header: ingestor_pb2.UploadHeader, data: bytes) -> DocumentInput:
    return DocumentInput(
        data=data,
        document_id=header.document_id,
        title=header.title,
        file_name=header.file_name,
        media_type=header.media_type,
        metadata=dict(header.metadata),
    )


def _stage(stage: JobStage) -> job_pb2.JobStage.ValueType:
    return job_pb2.JOB_STAGE_UNSPECIFIED if stage is JobStage.NONE else job_pb2.JobStage.Value(f"JOB_STAGE_{stage}")


def _reason(name: str) -> errors_pb2.ErrorReason.ValueType:
    values = errors_pb2.ErrorReason.DESCRIPTOR.values_by_name
    known = values.get(f"ERROR_REASON_{name}")
    return errors_pb2.ErrorReason.ValueType(known.number) if known is not None else errors_pb2.ERROR_REASON_INTERNAL


def _time(moment: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp
