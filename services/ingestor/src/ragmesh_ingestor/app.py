"""The composition root of the ingestor: every object and task of the process is made here."""

from __future__ import annotations

import gc
import os
import secrets
import socket
from functools import partial

from ragmesh.ingestor.v1 import ingestor_pb2, ingestor_pb2_grpc
from ragmesh_backends.blobs import layout as blobs_layout
from ragmesh_backends.blobs.object_store import ObjectBlobs
from ragmesh_backends.embeddings import weights
from ragmesh_backends.embeddings.open import open_embedder
from ragmesh_backends.queues.redis_jobs import RedisJobs
from ragmesh_backends.records.open import open_records
from ragmesh_backends.redis.client import connect, connect_blocking
from ragmesh_backends.redis.layout import look_at_state
from ragmesh_backends.store_settings import RECORDS_LOGIN, STATE_LOGIN, VECTORS_LOGIN
from ragmesh_backends.vectors.milvus import MilvusVectors
from ragmesh_backends.visibility.redis_visibility import RedisVisibility
from ragmesh_ingestor.adapters.frames import ChildSettings
from ragmesh_ingestor.adapters.parser_process import ParserPool
from ragmesh_ingestor.adapters.queue_gauge import QueueGauge
from ragmesh_ingestor.adapters.stage_meter import stage_clock
from ragmesh_ingestor.domain.collections import Collections
from ragmesh_ingestor.domain.documents import Documents
from ragmesh_ingestor.domain.submit import Submit
from ragmesh_ingestor.domain.sweeper import Sweeper
from ragmesh_ingestor.domain.worker import Worker
from ragmesh_ingestor.server.servicer import IngestorServicer
from ragmesh_ingestor.settings import IngestorSettings, from_environment
from ragmesh_servicekit.paging import PageTokens
from ragmesh_servicekit.process import Process
from ragmesh_servicekit.resilience.retry import Retry

SERVICE = ingestor_pb2.DESCRIPTOR.services_by_name["IngestorService"].full_name


async def main() -> None:
    """Read the settings and serve until the first signal."""
    await serve(from_environment())


async def serve(settings: IngestorSettings) -> None:
    """Serve ingestor.v1 and work on its queue."""
    async with Process("ingestor", settings.process, grpc_port=settings.grpc_port, services=(SERVICE,)) as process:
        guards = [process.guard(role, settings.records.url) for role in ("records", "graph")]
        store = await process.enter(await open_records(settings.records, guards, awaited=False))
        process.opens("records", store.look, *guards)
        records, graph = store.records, store.graph
        blobs = await ObjectBlobs.open(
            settings.blobs, process.guard("blobs", settings.blobs.s3_endpoint or settings.blobs.url)
        )
        process.opens("blobs", partial(blobs_layout.open_layout, blobs, wait_seconds=blobs_layout.LOOK_SECONDS))
        vectors = MilvusVectors(
            settings.vectors.url,
            timeout_seconds=settings.vectors.timeout_seconds,
            max_loaded=settings.vectors.max_loaded,
            token=settings.vectors.token,
            guard=process.guard("vectors", settings.vectors.url),
        )
        process.closing(vectors, vectors.close)
        state, blocking = connect(settings.state.url), connect_blocking(settings.state.url)
        process.closing(state, state.aclose)
        process.closing(blocking, blocking.aclose)
        of_state = process.guard("state", settings.state.url)
        process.opens("state", partial(look_at_state, state, durable=True), of_state)
        visibility, queue = RedisVisibility(state, guard=of_state), RedisJobs(state, blocking, guard=of_state)
        of_embeddings = process.guard("embeddings", settings.embedding.url)
        embedder = await open_embedder(settings.embedding, of_embeddings, Retry("embeddings"))
        process.closing(embedder, embedder.close)
        await embedder.warm()
        parser = await process.enter(ParserPool(_child(settings), timeout_seconds=settings.chunking.parser_seconds))
        await parser.warm()

        submit = Submit(records, visibility, blobs, queue, embedding_model=embedder.model_id)
        documents = Documents(records, visibility, blobs)
        collections = Collections(
            records, vectors, visibility, embedding_model=embedder.model_id, dimension=embedder.dimension
        )
        pages = PageTokens(next(iter(settings.process.identity.parsed().values())))
        servicer = IngestorServicer(collections, documents, submit, queue, pages)
        ingestor_pb2_grpc.add_IngestorServiceServicer_to_server(servicer, process.server)

        consumer = f"{settings.process.telemetry.instance or socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        worker = Worker(
            consumer, queue, records, vectors, graph, visibility, blobs, parser, embedder, clock=stage_clock
        )
        process.spawn("worker", worker.run())
        process.spawn("queue-gauge", QueueGauge(queue).run())
        process.spawn("sweeper", Sweeper(records, vectors, graph, visibility, blobs, queue).run())

        # What is there now stays to the end: the collector need not look at all of it again and again.
        gc.collect()
        gc.freeze()
        process.drain_beside_calls("worker.drain", lambda: worker.drain(settings.process.server.grace_seconds))
        process.check("vectors", vectors.ping, VECTORS_LOGIN)
        process.check("records", store.ping, RECORDS_LOGIN)
        process.check("state", queue.ping, STATE_LOGIN)
        process.check("blobs", blobs.ping)
        await process.serve()


def _child(settings: IngestorSettings) -> ChildSettings:
    chunking = settings.chunking
    return ChildSettings(
        tokenizer=str(weights.installed().tokenizer),
        max_tokens=chunking.max_tokens,
        overlap_tokens=chunking.overlap_tokens,
        whole_tokens=chunking.whole_tokens,
        memory_bytes=chunking.parser_memory_bytes,
        cpu_seconds=int(chunking.parser_seconds) + 1,
    )
