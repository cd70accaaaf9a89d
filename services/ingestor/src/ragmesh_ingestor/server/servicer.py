"""IngestorService: convert in, one use case, convert out."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import grpc.aio

from ragmesh.ingestor.v1 import ingestor_pb2 as pb
from ragmesh.ingestor.v1 import ingestor_pb2_grpc
from ragmesh_backends.model.job import Job, JobState
from ragmesh_ingestor.domain.collections import Collections
from ragmesh_ingestor.domain.documents import Documents
from ragmesh_ingestor.domain.submit import Submit
from ragmesh_ingestor.server import convert
from ragmesh_ingestor.server.uploads import collect
from ragmesh_servicekit import identity
from ragmesh_servicekit.errors import InvalidArgument
from ragmesh_servicekit.paging import PageTokens
from ragmesh_servicekit.telemetry import metrics
from ragmesh_servicekit.telemetry.tracing import current_traceparent

if TYPE_CHECKING:  # grpc's class takes no type arguments at run time
    Context = grpc.aio.ServicerContext[Any, Any]
else:
    Context = grpc.aio.ServicerContext
PAGE_SIZE = 50


class JobPage(Protocol):
    @property
    def jobs(self) -> Sequence[Job]: ...
    @property
    def next(self) -> str: ...


class Jobs(Protocol):
    """What the servicer reads of the queue."""

    async def get(self, tenant: str, job_id: str) -> Job: ...
    async def list(
        self, tenant: str, *, collection_id: str, batch_id: str, state: JobState | None, after: str, limit: int
    ) -> JobPage: ...
    def watch(self, tenant: str, *, batch_id: str, job_ids: Sequence[str], final_only: bool) -> AsyncIterator[Job]: ...
    async def cancel(self, tenant: str, job_id: str) -> Job: ...


class IngestorServicer(ingestor_pb2_grpc.IngestorServiceServicer):
    """ingestor.v1.IngestorService."""

    def __init__(
        self, collections: Collections, documents: Documents, submit: Submit, jobs: Jobs, pages: PageTokens
    ) -> None:
        self._collections, self._documents, self._submit = collections, documents, submit
        self._jobs, self._pages = jobs, pages

    # -- collections -------------------------------------------------------------------------------

    async def CreateCollection(
        self, request: pb.CreateCollectionRequest, context: Context
    ) -> pb.CreateCollectionResponse:
        collection = await self._collections.create(
            identity.require().tenant,
            request.collection_id,
            display_name=request.display_name,
            language=convert.language(request.language),
            labels=dict(request.labels),
        )
        return pb.CreateCollectionResponse(collection=convert.collection_message(collection))

    async def GetCollection(self, request: pb.GetCollectionRequest, context: Context) -> pb.GetCollectionResponse:
        collection = await self._collections.get(identity.require().tenant, request.collection_id)
        return pb.GetCollectionResponse(collection=convert.collection_message(collection))

    async def ListCollections(self, request: pb.ListCollectionsRequest, context: Context) -> pb.ListCollectionsResponse:
        tenant, size = identity.require().tenant, request.page_size or PAGE_SIZE
        after = self._pages.read(request.page_token, tenant, "ListCollections")
        found = await self._collections.list(tenant, after, size + 1)
        more = self._more(found, size, lambda c: c.collection_id, tenant, "ListCollections")
        return pb.ListCollectionsResponse(
            collections=[convert.collection_message(c) for c in found[:size]], next_page_token=more
        )

    async def UpdateCollection(
        self, request: pb.UpdateCollectionRequest, context: Context
    ) -> pb.UpdateCollectionResponse:
        collection = await self._collections.update(
            identity.require().tenant,
            request.collection_id,
            display_name=request.display_name if request.HasField("display_name") else None,
            labels=dict(request.labels) or None,
        )
        return pb.UpdateCollectionResponse(collection=convert.collection_message(collection))

    async def DeleteCollection(
        self, request: pb.DeleteCollectionRequest, context: Context
    ) -> pb.DeleteCollectionResponse:
        await self._collections.delete(identity.require().tenant, request.collection_id)
        return pb.DeleteCollectionResponse()

    # -- documents ---------------------------------------------------------------------------------

    async def BatchCreateDocuments(
        self, request: pb.BatchCreateDocumentsRequest, context: Context
    ) -> pb.BatchCreateDocumentsResponse:
        single = len(request.documents) == 1
        documents = [convert.document_input(document) for document in request.documents]
        jobs = await self._submit(
            identity.require(),
            request.collection_id,
            documents,
            batch_id=request.batch_id or (f"b-{secrets.token_hex(8)}" if not single else ""),
            request_id=request.request_id,
            traceparent=current_traceparent(),
            fields=None if single else [f"documents[{n}]" for n in range(len(request.documents))],
        )
        metrics.ACCEPTED_BYTES.inc(sum(len(document.data) for document in documents))
        return pb.BatchCreateDocumentsResponse(jobs=[convert.job_message(job) for job in jobs])

    async def SubmitDocument(
        self, request_iterator: AsyncIterator[pb.SubmitDocumentRequest], context: Context
    ) -> pb.SubmitDocumentResponse:
        header, data = await collect(request_iterator)
        (job,) = await self._submit(
            identity.require(),
            header.collection_id,
            [convert.upload_input(header, data)],
            batch_id=header.batch_id,
            request_id=header.request_id,
            traceparent=current_traceparent(),
        )
        metrics.ACCEPTED_BYTES.inc(len(data))
        return pb.SubmitDocumentResponse(job=convert.job_message(job))

    async def GetDocument(self, request: pb.GetDocumentRequest, context: Context) -> pb.GetDocumentResponse:
        document = await self._documents.get(identity.require().tenant, request.collection_id, request.document_id)
        return pb.GetDocumentResponse(document=convert.document_message(document))

    async def ListDocuments(self, request: pb.ListDocumentsRequest, context: Context) -> pb.ListDocumentsResponse:
        tenant, size = identity.require().tenant, request.page_size or PAGE_SIZE
        scope = ("ListDocuments", request.collection_id)
        after = self._pages.read(request.page_token, tenant, *scope)
        found = await self._documents.list(tenant, request.collection_id, after, size + 1)
        more = self._more(found, size, lambda d: d.document_id, tenant, *scope)
        return pb.ListDocumentsResponse(
            documents=[convert.document_message(d) for d in found[:size]], next_page_token=more
        )

    async def DeleteDocument(self, request: pb.DeleteDocumentRequest, context: Context) -> pb.DeleteDocumentResponse:
        await self._documents.delete(identity.require().tenant, request.collection_id, request.document_id)
        return pb.DeleteDocumentResponse()

    async def GetDocumentContent(
        self, request: pb.GetDocumentContentRequest, context: Context
    ) -> pb.GetDocumentContentResponse:
        content = await self._documents.content(
            identity.require().tenant, request.collection_id, request.document_id, request.offset, request.limit
        )
        return pb.GetDocumentContentResponse(
            text=content.text, version=content.version, total_length=content.total_length
        )

    async def ListChunks(self, request: pb.ListChunksRequest, context: Context) -> pb.ListChunksResponse:
        tenant, size = identity.require().tenant, request.page_size or PAGE_SIZE
        scope = ("ListChunks", request.collection_id, request.document_id)
        after = int(self._pages.read(request.page_token, tenant, *scope) or -1)
        found = await self._documents.chunks(tenant, request.collection_id, request.document_id, after, size + 1)
        more = self._more(found, size, lambda c: str(c.ordinal), tenant, *scope)
        return pb.ListChunksResponse(chunks=[convert.chunk_message(c) for c in found[:size]], next_page_token=more)

    # -- jobs --------------------------------------------------------------------------------------

    async def GetJob(self, request: pb.GetJobRequest, context: Context) -> pb.GetJobResponse:
        return pb.GetJobResponse(
            job=convert.job_message(await self._jobs.get(identity.require().tenant, request.job_id))
        )

    async def ListJobs(self, request: pb.ListJobsRequest, context: Context) -> pb.ListJobsResponse:
        tenant = identity.require().tenant
        scope = ("ListJobs", request.collection_id, request.batch_id, str(request.state))
        page = await self._jobs.list(
            tenant,
            collection_id=request.collection_id,
            batch_id=request.batch_id,
            state=convert.job_state(request.state),
            after=self._pages.read(request.page_token, tenant, *scope),
            limit=request.page_size or PAGE_SIZE,
        )
        more = self._pages.issue(page.next, tenant, *scope) if page.next else ""
        return pb.ListJobsResponse(jobs=[convert.job_message(job) for job in page.jobs], next_page_token=more)

    async def WatchJobs(self, request: pb.WatchJobsRequest, context: Context) -> AsyncIterator[pb.WatchJobsResponse]:
        if bool(request.batch_id) == bool(request.job_ids):
            raise InvalidArgument.field("batch_id", "name a batch or job_ids, one of the two")
        changes = self._jobs.watch(
            identity.require().tenant,
            batch_id=request.batch_id,
            job_ids=tuple(request.job_ids),
            final_only=request.final_only,
        )
        async for job in changes:
            yield pb.WatchJobsResponse(job=convert.job_message(job))

    async def CancelJob(self, request: pb.CancelJobRequest, context: Context) -> pb.CancelJobResponse:
        return pb.CancelJobResponse(
            job=convert.job_message(await self._jobs.cancel(identity.require().tenant, request.job_id))
        )

    def _more(self, found: Sequence[Any], size: int, cursor: Any, tenant: str, *scope: str) -> str:
        return self._pages.issue(cursor(found[size - 1]), tenant, *scope) if len(found) > size else ""
