"""A real gateway, both surfaces, in front of small servers that speak the inner contract."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import httpx

from ragmesh.common.v1 import answer_pb2, collection_pb2, document_pb2, job_pb2, search_pb2
from ragmesh.generator.v1 import generator_pb2, generator_pb2_grpc
from ragmesh.ingestor.v1 import ingestor_pb2, ingestor_pb2_grpc
from ragmesh.retriever.v1 import retriever_pb2, retriever_pb2_grpc
from ragmesh_backends.model.key import KeyRecord
from ragmesh_backends.records.keys import KEYS_SCHEMA, SqliteKeys
from ragmesh_backends.sqlite.database import Database
from ragmesh_gateway.adapters.generator import GeneratorClient
from ragmesh_gateway.adapters.retriever import RetrieverClient
from ragmesh_gateway.domain.ask import Ask
from ragmesh_gateway.domain.keys import KeyRing, Keys
from ragmesh_gateway.domain.scopes import ALL_SCOPES
from ragmesh_gateway.rest.api import RestApi
from ragmesh_gateway.server.contract import public_methods
from ragmesh_gateway.server.endpoints import Endpoints, Limits
from ragmesh_gateway.server.forwarding import IngestorForwarder
from ragmesh_gateway.server.grpc_api import add_public_api
from ragmesh_gateway.server.handlers import AskHandlers, KeyHandlers
from ragmesh_servicekit import identity
from ragmesh_servicekit.api_key import new_key, parse
from ragmesh_servicekit.channel import MeshChannel, open_channel
from ragmesh_servicekit.errors import AlreadyExists, MeshError, NotFound, Reason, Unavailable
from ragmesh_servicekit.http_server import http_server
from ragmesh_servicekit.interceptors.registry import HandlerRegistry
from ragmesh_servicekit.interceptors.server import MeshServerInterceptor
from ragmesh_servicekit.paging import PageTokens
from ragmesh_servicekit.tokens import TokenMinter, TokenVerifier

SIGNING = {"first": b"0123456789abcdef0123456789abcdef"}
METHODS = public_methods()
CACHE_NONE = answer_pb2.CACHE_KIND_NONE


class StandInRetriever(retriever_pb2_grpc.RetrieverServiceServicer):
    """Finds two passages in `docs`; nothing else exists. `hold` keeps a search waiting; `missing` is degraded."""

    def __init__(self) -> None:
        self.hold = asyncio.Event()
        self.hold.set()
        self.missing: list[search_pb2.Part.ValueType] = []
        self.cancelled = asyncio.Event()
        self.seen: list[retriever_pb2.SearchRequest] = []

    async def Search(self, request: retriever_pb2.SearchRequest, context: Any) -> retriever_pb2.SearchResponse:
        self.seen.append(request)
        try:
            await self.hold.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        if request.collection_id != "docs":
            raise NotFound("collection_id: no such collection", reason=Reason.COLLECTION_NOT_FOUND)
        hits = [
            search_pb2.Hit(
                chunk_id=f"c{n}",
                document_id="d/é 1",
                version=1,
                text=f"Passage {n}: «naïve»\n🙂",
                title="A title",
                score=1 / n,
                scores=search_pb2.Scores(dense=0.0, fused=0.5),
            )
            for n in (1, 2)
        ]
        return retriever_pb2.SearchResponse(hits=hits, degraded=self.missing)


class StandInGenerator(generator_pb2_grpc.GeneratorServiceServicer):
    """Says "One two [1]." in three tokens. `steps`: one permit for each event; `fails`: raised after the first token,
    or before it with `fails_at_once`."""

    def __init__(self) -> None:
        self.steps = asyncio.Semaphore(10**6)
        self.fails: MeshError | None = None
        self.fails_at_once = False
        self.begun = asyncio.Event()
        self.over = asyncio.Event()
        self.produced = 0

    async def Generate(
        self, request: generator_pb2.GenerateRequest, context: Any
    ) -> AsyncIterator[generator_pb2.GenerateResponse]:
        self.begun.set()
        say = generator_pb2.GenerateResponse
        done = answer_pb2.Done(finish_reason=answer_pb2.FINISH_REASON_STOP, confidence=1.0, cache=CACHE_NONE)
        events = [
            *(say(token=answer_pb2.Token(text=text)) for text in ("One ", "two ", "[1].")),
            say(citation=answer_pb2.Citation(number=1, chunk_id="c1", document_id="d/é 1", start=8, end=11)),
            say(usage=answer_pb2.Usage(model="stand-in", prompt_tokens=7, completion_tokens=3)),
            say(done=done),
        ]
        try:
            if self.fails is not None and self.fails_at_once:
                raise self.fails
            for event in events:
                await self.steps.acquire()
                self.produced += 1
                yield event
                if self.fails is not None:
                    raise self.fails
        finally:
            self.over.set()


class StandInIngestor(ingestor_pb2_grpc.IngestorServiceServicer):
    """Remembers what it was asked, and by which tenant."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, Any]] = []
        self.uploaded = bytearray()
        self.watching = asyncio.Event()
        self.watch_over = asyncio.Event()

    def _note(self, request: Any) -> None:
        self.seen.append((identity.require().tenant, request))

    async def CreateCollection(self, request: Any, context: Any) -> ingestor_pb2.CreateCollectionResponse:
        self._note(request)
        if request.collection_id == "taken":
            raise AlreadyExists("collection_id: `taken` exists already")
        made = collection_pb2.Collection(collection_id=request.collection_id, language=request.language)
        return ingestor_pb2.CreateCollectionResponse(collection=made)

    async def GetCollection(self, request: Any, context: Any) -> ingestor_pb2.GetCollectionResponse:
        self._note(request)
        if identity.require().tenant != "acme":
            raise NotFound("collection_id: no such collection", reason=Reason.COLLECTION_NOT_FOUND)
        made = collection_pb2.Collection(collection_id=request.collection_id, documents_ready=2)
        return ingestor_pb2.GetCollectionResponse(collection=made)

    async def BatchCreateDocuments(self, request: Any, context: Any) -> ingestor_pb2.BatchCreateDocumentsResponse:
        self._note(request)
        jobs = [
            job_pb2.Job(job_id=f"j{n}", document_id=d.document_id, state=job_pb2.JOB_STATE_ACCEPTED)
            for n, d in enumerate(request.documents)
        ]
        return ingestor_pb2.BatchCreateDocumentsResponse(jobs=jobs)

    async def SubmitDocument(self, requests: AsyncIterator[Any], context: Any) -> ingestor_pb2.SubmitDocumentResponse:
        header = None
        async for request in requests:
            if request.HasField("header"):
                header = request.header
                self._note(header)
            self.uploaded += request.data
        assert header is not None
        job = job_pb2.Job(
            job_id="j", document_id=header.document_id or header.file_name, state=job_pb2.JOB_STATE_ACCEPTED
        )
        return ingestor_pb2.SubmitDocumentResponse(job=job)

    async def GetDocument(self, request: Any, context: Any) -> ingestor_pb2.GetDocumentResponse:
        self._note(request)
        document = document_pb2.Document(
            document_id=request.document_id, size_bytes=2**40, state=document_pb2.DOCUMENT_STATE_READY
        )
        return ingestor_pb2.GetDocumentResponse(document=document)

    async def GetDocumentContent(self, request: Any, context: Any) -> ingestor_pb2.GetDocumentContentResponse:
        self._note(request)
        return ingestor_pb2.GetDocumentContentResponse(text=request.document_id, version=1)

    async def ListJobs(self, request: Any, context: Any) -> ingestor_pb2.ListJobsResponse:
        self._note(request)
        return ingestor_pb2.ListJobsResponse()

    async def WatchJobs(self, request: Any, context: Any) -> AsyncIterator[ingestor_pb2.WatchJobsResponse]:
        try:
            yield ingestor_pb2.WatchJobsResponse(job=job_pb2.Job(job_id="j", state=job_pb2.JOB_STATE_RUNNING))
            self.watching.set()
            if request.batch_id == "fails":
                raise Unavailable.dependency("queue")
            await asyncio.Event().wait()
        finally:
            self.watch_over.set()


@dataclass
class Mesh:
    """What a test needs of the mesh."""

    retriever: StandInRetriever
    generator: StandInGenerator
    ingestor: StandInIngestor
    store: SqliteKeys
    ring: KeyRing
    key: str
    grpc_target: str
    rest_port: int
    servers: dict[str, grpc.aio.Server]
    http: httpx.AsyncClient
    channel: grpc.aio.Channel

    @property
    def auth(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.key}"),)

    async def key_with(self, scopes: frozenset[str], tenant: str = "acme", **times: datetime) -> str:
        key = new_key()
        await self.store.put(record_of(key, tenant, scopes, **times))
        return key

    async def raw(self, head: str, announced: int = 0) -> tuple[int, dict[str, str], bytes]:
        """A request as written, for what an HTTP client would mend. `head` has no authorization and no end. No body is
        sent, whatever length is announced."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.rest_port)
        text = f"{head}\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {self.key}\r\n"
        writer.write(f"{text}content-length: {announced}\r\n\r\n".encode())
        answer = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        await writer.wait_closed()
        start, _, rest = answer.partition(b"\r\n\r\n")
        status, *lines = start.decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        return int(status.split()[1]), headers, rest


def record_of(key: str, tenant: str, scopes: frozenset[str], **times: datetime) -> KeyRecord:
    parsed = parse(key)
    assert parsed is not None
    return KeyRecord(
        key_id=parsed.key_id,
        tenant=tenant,
        principal=f"key:{parsed.key_id}",
        name="test",
        scopes=scopes,
        groups=("staff",),
        secret_sha256=parsed.secret_sha256,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        **times,
    )


@asynccontextmanager
async def running_gateway(folder: Path, limits: Limits | None = None) -> AsyncIterator[Mesh]:
    """The gateway and what stands behind it, on free ports."""
    async with AsyncExitStack() as stack:
        retriever, generator = StandInRetriever(), StandInGenerator()
        ingestor = StandInIngestor()  # type: ignore[abstract]  # methods that no test needs
        minter = TokenMinter(SIGNING)
        channels: dict[str, MeshChannel] = {}
        servers: dict[str, grpc.aio.Server] = {}
        for name, servicer, add in (
            ("retriever", retriever, retriever_pb2_grpc.add_RetrieverServiceServicer_to_server),
            ("generator", generator, generator_pb2_grpc.add_GeneratorServiceServicer_to_server),
            ("ingestor", ingestor, ingestor_pb2_grpc.add_IngestorServiceServicer_to_server),
        ):
            server = grpc.aio.server(
                interceptors=[MeshServerInterceptor(HandlerRegistry(), TokenVerifier(SIGNING, name))],
                options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", 20 * 2**20)],
            )
            add(servicer, server)  # type: ignore[arg-type]  # each adder has its own servicer
            port = server.add_insecure_port("127.0.0.1:0")
            await server.start()
            stack.push_async_callback(server.stop, 0)
            servers[name] = server
            channels[name] = open_channel(f"ipv4:127.0.0.1:{port}", name, minter)
            stack.push_async_callback(channels[name].close)
        database = await stack.enter_async_context(await Database.open(folder / "keys.db", [KEYS_SCHEMA]))
        store = SqliteKeys(database)
        ring = KeyRing(store)
        keys = Keys(store, ring)
        key = new_key()
        await store.put(record_of(key, "acme", ALL_SCOPES))
        to_retriever = RetrieverClient(channels["retriever"])
        ask: Ask[search_pb2.Hit] = Ask(to_retriever, GeneratorClient(channels["generator"]))
        endpoints = Endpoints(
            METHODS,
            {
                **AskHandlers(ask, to_retriever).handlers(),
                **KeyHandlers(keys, PageTokens(b"secret")).handlers(),
                **IngestorForwarder(channels["ingestor"], METHODS).handlers(),
            },
            ring,
            limits,
        )
        public = grpc.aio.server(
            interceptors=[MeshServerInterceptor(HandlerRegistry(), None)], options=[("grpc.so_reuseport", 0)]
        )
        add_public_api(public, endpoints)
        port = public.add_insecure_port("127.0.0.1:0")
        await public.start()
        stack.push_async_callback(public.stop, 0)
        rest = await stack.enter_async_context(http_server(RestApi(endpoints, {}, "0"), "127.0.0.1", 0, "REST"))
        client = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{rest.port}", headers={"authorization": f"Bearer {key}"}, timeout=10
        )
        http = await stack.enter_async_context(client)
        channel = await stack.enter_async_context(
            grpc.aio.insecure_channel(f"127.0.0.1:{port}", [("grpc.use_local_subchannel_pool", 1)])
        )
        yield Mesh(
            retriever,
            generator,
            ingestor,
            store,
            ring,
            key,
            f"127.0.0.1:{port}",
            rest.port,
            servers,
            http,
            channel,
        )
