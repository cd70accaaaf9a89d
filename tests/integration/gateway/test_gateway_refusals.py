"""Refusals that need a gateway of their own: bodies too large, a service that is down, time that runs out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from ragmesh.gateway.v1 import (
    ask_pb2,
    ask_pb2_grpc,
    collections_pb2,
    collections_pb2_grpc,
    search_pb2,
    search_pb2_grpc,
)
from ragmesh_gateway.server.endpoints import Limits
from ragmesh_servicekit.errors import MeshError
from ragmesh_servicekit.status import error_of_call
from support.gateway_mesh import Mesh, running_gateway
from support.proxy import FaultProxy, Harm
from support.waiting import until

RETRY = json.dumps(
    {
        "methodConfig": [
            {
                "name": [{"service": "ragmesh.gateway.v1.SearchService"}],
                "retryPolicy": {
                    "maxAttempts": 3,
                    "initialBackoff": "0.05s",
                    "maxBackoff": "1s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ]
    }
)


async def refused(call: Awaitable[Any]) -> MeshError:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    return error_of_call(failed.value)


async def test_a_body_that_announces_too_much_is_refused_unread(mesh: Mesh) -> None:
    status, _, _ = await mesh.raw("POST /v1/collections/c/documents HTTP/1.1", announced=999_999_999)
    assert status == 413


async def test_a_body_that_grows_too_large_is_refused(mesh: Mesh) -> None:
    async def endless() -> Any:
        yield b'{"text": "'
        for _ in range(17):
            yield b"x" * 2**20

    reply = await mesh.http.post("/v1/collections/c/documents", content=endless())
    assert (reply.status_code, reply.json()["reason"]) == (413, "CONTENT_TOO_LARGE")
    assert mesh.ingestor.seen == []


async def test_an_ingestor_that_is_down_is_503_and_unavailable(mesh: Mesh) -> None:
    await mesh.servers["ingestor"].stop(0)
    reply = await mesh.http.get("/v1/collections/c")
    assert (reply.status_code, reply.json()["reason"]) == (503, "DEPENDENCY_UNAVAILABLE")
    stub = collections_pb2_grpc.CollectionServiceStub(mesh.channel)
    request = collections_pb2.GetCollectionRequest(collection_id="c")
    error = await refused(stub.GetCollection(request, metadata=mesh.auth))
    assert (error.message, error.reason) == (reply.json()["detail"], "DEPENDENCY_UNAVAILABLE")
    assert error.metadata == reply.json()["metadata"] == {"dependency": "ingestor"}


async def test_a_search_in_flight_when_its_connection_breaks_is_repeated_by_the_clients_channel(mesh: Mesh) -> None:
    mesh.retriever.hold.clear()
    async with (
        FaultProxy("127.0.0.1:0", mesh.grpc_target) as proxy,
        grpc.aio.insecure_channel(proxy.address, [("grpc.service_config", RETRY)]) as channel,
    ):
        stub = search_pb2_grpc.SearchServiceStub(channel)
        request = search_pb2.SearchRequest(collection_id="docs", query="q")
        call = stub.Search(request, metadata=mesh.auth, timeout=10)
        asking = asyncio.ensure_future(call)
        async with asyncio.timeout(10):
            await until(lambda: len(mesh.retriever.seen) == 1)
            await proxy.harm(Harm("reset_peer"))
            await proxy.heal()
            await until(lambda: len(mesh.retriever.seen) == 2)
            mesh.retriever.hold.set()
            assert len((await asking).hits) == 2
    assert dict(await call.trailing_metadata())["x-request-id"]


async def test_a_refusal_and_a_stream_quote_the_request_id(mesh: Mesh) -> None:
    asked = (*mesh.auth, ("x-request-id", "mine-1"))
    search = search_pb2_grpc.SearchServiceStub(mesh.channel)
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await search.Search(search_pb2.SearchRequest(collection_id="docs"), metadata=asked)
    assert dict(failed.value.trailing_metadata())["x-request-id"] == "mine-1"
    assert error_of_call(failed.value).violations[0].field == "query"
    stream = ask_pb2_grpc.AskServiceStub(mesh.channel).AskStream(
        ask_pb2.AskStreamRequest(collection_id="docs", question="q"), metadata=asked
    )
    assert dict(await stream.initial_metadata())["x-request-id"] == "mine-1"
    assert [event async for event in stream]
    assert dict(await stream.trailing_metadata())["x-request-id"] == "mine-1"


async def test_a_call_that_takes_too_long_is_a_deadline_on_both_surfaces(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, Limits(unary_seconds=0.3, stream_seconds=0.4)) as mesh:
        mesh.retriever.hold.clear()
        for path, body in (("search", {"query": "q"}), ("ask", {"question": "q"}), ("askStream", {"question": "q"})):
            reply = await mesh.http.post(f"/v1/collections/docs:{path}", json=body)
            assert (reply.status_code, reply.json()["reason"]) == (504, "DEADLINE_EXCEEDED"), path
            assert reply.json()["detail"] == "the deadline of the request has passed"
        stub = search_pb2_grpc.SearchServiceStub(mesh.channel)
        request = search_pb2.SearchRequest(collection_id="docs", query="q")
        error = await refused(stub.Search(request, metadata=mesh.auth))
        assert error.message == "the deadline of the request has passed"
        await asyncio.wait_for(mesh.retriever.cancelled.wait(), 1)
