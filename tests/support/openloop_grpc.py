"""The gRPC user behind the load, with the configuration that docs/reliability.md recommends to a client of two
gateways."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self, cast

import grpc
import grpc.aio

from ragmesh.common.v1 import search_pb2
from ragmesh.gateway.v1 import ask_pb2, collections_pb2, documents_pb2, jobs_pb2
from ragmesh.gateway.v1 import search_pb2 as public_search_pb2
from ragmesh_cli.client import Client
from ragmesh_servicekit.status import DETAILS_KEY, error_of_call
from support.openloop_operation import DEADLINE_SECONDS, REPEATABLE, Ask, Operation

REPEATABLE_METHODS = (
    ("ragmesh.gateway.v1.SearchService", "Search"),
    ("ragmesh.gateway.v1.AskService", "Ask"),
    ("ragmesh.gateway.v1.CollectionService", "GetCollection"),
    ("ragmesh.gateway.v1.DocumentService", "ListDocuments"),
    ("ragmesh.gateway.v1.JobService", "GetJob"),
)
SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "healthCheckConfig": {"serviceName": "gateway"},
    "methodConfig": [
        {
            "name": [{"service": service, "method": method} for service, method in REPEATABLE_METHODS],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.05s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
}
_OPTIONS: list[tuple[str, int]] = [
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 3_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.dns_min_time_between_resolutions_ms", 1_000),
    ("grpc.enable_http_proxy", 0),
]
CHANNEL_OPTIONS = [("grpc.service_config", json.dumps(SERVICE_CONFIG)), *_OPTIONS]
_UNASKED = {key: value for key, value in SERVICE_CONFIG.items() if key != "healthCheckConfig"}
FALLBACK_OPTIONS = [("grpc.service_config", json.dumps(_UNASKED)), *_OPTIONS]
"""Behind one address there is no other gateway to take instead of one that drains, and serves meanwhile."""
_PEER = re.compile(r"ipv4:([\d.:]+)")


class GrpcUser:
    """One channel to all gateways. Repeatable methods are sent again on UNAVAILABLE, by gRPC; nothing else is.

    fallback: a second way to the gateways, for while the channel is in transient failure; what it lost then and may be
    repeated goes there, too."""

    def __init__(self, addresses: list[str], key: str, collection: str, fallback: str = "") -> None:
        self._collection = collection
        target = addresses[0] if addresses[0].startswith("dns:") else "ipv4:" + ",".join(addresses)
        self._channel = grpc.aio.insecure_channel(target, CHANNEL_OPTIONS)
        self._second = grpc.aio.insecure_channel(fallback, FALLBACK_OPTIONS) if fallback else None
        self._client = Client(self._channel, key)
        self._by_second = Client(self._second, key) if self._second else self._client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._channel.close(None)
        if self._second:
            await self._second.close(None)

    async def warm(self, job: str) -> None:
        """Connect before the clock runs."""
        for _ in range(8):
            await self._client.jobs.GetJob(jobs_pb2.GetJobRequest(job_id=job), timeout=10, wait_for_ready=True)

    async def do(self, operation: Operation) -> None:
        """Perform it and note how it ended; never raises for what a server or network does."""
        operation.start = time.monotonic()
        try:
            await self._send(operation)
            operation.code = "OK"
        except grpc.aio.AioRpcError as error:
            trailing = _trailing(error)
            operation.code, operation.detail = error.code().name, error.details() or ""
            operation.typed = DETAILS_KEY in trailing
            operation.reason = str(error_of_call(error).reason) if operation.typed else ""
            peer = _PEER.search(error.debug_error_string() or "")
            operation.gateway = peer[1] if peer else ""
        operation.end = time.monotonic()

    async def _send(self, operation: Operation) -> None:
        client = self._by_second if self._lost() else self._client
        try:
            await self._call(client, operation)
        except grpc.aio.AioRpcError as error:
            lost = error.code() is grpc.StatusCode.UNAVAILABLE and client is self._client and self._lost()
            answered = "grpc-retry-pushback-ms" in _trailing(error)
            if answered or not lost or operation.ask not in REPEATABLE:
                raise
            await self._call(self._by_second, operation)

    def _lost(self) -> bool:
        if self._second is None:
            return False
        return self._channel.get_state(try_to_connect=True) is grpc.ChannelConnectivity.TRANSIENT_FAILURE

    async def _call(self, client: Client, operation: Operation) -> None:
        timeout, collection = DEADLINE_SECONDS[operation.ask], self._collection
        match operation.ask:
            case Ask.SEARCH:
                search = public_search_pb2.SearchRequest(collection_id=collection, query=operation.question)
                found = await client.search.Search(search, timeout=timeout)
                operation.degraded = _parts(found.degraded)
                operation.found = any(hit.document_id == operation.subject for hit in found.hits)
            case Ask.ASK:
                ask = ask_pb2.AskRequest(collection_id=collection, question=operation.question)
                answer = await client.ask.Ask(ask, timeout=timeout)
                operation.degraded = _parts(answer.degraded)
                operation.found = any(source.hit.document_id == operation.subject for source in answer.sources)
            case Ask.STREAM:
                stream = ask_pb2.AskStreamRequest(collection_id=collection, question=operation.question)
                async for event in client.ask.AskStream(stream, timeout=timeout):
                    self._event(operation, event)
            case Ask.COLLECTION:
                await client.collections.GetCollection(
                    collections_pb2.GetCollectionRequest(collection_id=collection), timeout=timeout
                )
            case Ask.DOCUMENTS:
                await client.documents.ListDocuments(
                    documents_pb2.ListDocumentsRequest(collection_id=collection, page_size=20), timeout=timeout
                )
            case Ask.JOB:
                await client.jobs.GetJob(jobs_pb2.GetJobRequest(job_id=operation.job), timeout=timeout)
            case Ask.DOCUMENT:
                reply = await client.documents.CreateDocument(
                    documents_pb2.CreateDocumentRequest(
                        collection_id=collection, document_id=operation.tag, text=operation.document_text
                    ),
                    timeout=timeout,
                )
                operation.accepted_job = reply.job.job_id

    @staticmethod
    def _event(operation: Operation, event: ask_pb2.AskStreamResponse) -> None:
        operation.first = operation.first or time.monotonic()
        operation.events += 1
        operation.last = event.WhichOneof("event") or ""
        if operation.last == "sources":
            operation.found = any(source.hit.document_id == operation.subject for source in event.sources.sources)
        elif operation.last == "degraded":
            operation.degraded += _parts(event.degraded.parts)
        elif operation.last == "error":
            operation.reason = str(event.error.reason)


def _trailing(error: grpc.aio.AioRpcError) -> dict[str, str | bytes]:
    return dict(cast("Iterable[tuple[str, str | bytes]]", error.trailing_metadata() or ()))


def _parts(parts: Iterable[int]) -> list[str]:
    return [search_pb2.Part.Name(cast(Any, part)).removeprefix("PART_") for part in parts]
