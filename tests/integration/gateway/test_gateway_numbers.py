"""What requests leave in the numbers on both surfaces, and what they never leave there."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from prometheus_client import generate_latest

from ragmesh.common.v1 import search_pb2
from ragmesh.gateway.v1 import ask_pb2, ask_pb2_grpc
from ragmesh_gateway.domain.scopes import DATA_SCOPES
from support.gateway_mesh import Mesh
from support.moved import Moved
from support.waiting import until

ASK, STREAM = "/v1/collections/docs:ask", "/v1/collections/docs:askStream"
SEARCH = "/v1/collections/docs:search"
QUESTION = {"question": "What?"}
ASK_METHOD, STREAM_METHOD = "/ragmesh.gateway.v1.AskService/Ask", "/ragmesh.gateway.v1.AskService/AskStream"
SEARCH_METHOD = "/ragmesh.gateway.v1.SearchService/Search"


async def test_answers_count_by_method_and_by_the_parts_that_they_lack(mesh: Mesh) -> None:
    moved = Moved()
    assert (await mesh.http.post(ASK, json=QUESTION)).status_code == 200
    mesh.retriever.missing = [search_pb2.PART_GRAPH, search_pb2.PART_DENSE]
    assert (await mesh.http.post(ASK, json=QUESTION)).status_code == 200
    assert (await mesh.http.post(SEARCH, json={"query": "What?"})).status_code == 200
    assert (await mesh.http.post(STREAM, json=QUESTION)).status_code == 200
    assert moved.by("ragmesh_answers_total", method=ASK_METHOD) == 2
    for method in (ASK_METHOD, SEARCH_METHOD, STREAM_METHOD):
        assert moved.by("ragmesh_degraded_answers_total", method=method, part="GRAPH") == 1
        assert moved.by("ragmesh_degraded_answers_total", method=method, part="DENSE") == 1
    assert moved.by("ragmesh_answers_total", method=STREAM_METHOD) == 1
    assert moved.by("ragmesh_relayed_tokens_total") == 3 * 3  # of two Asks and a stream


async def test_a_request_counts_once_with_its_status_and_time(mesh: Mesh) -> None:
    moved = Moved()
    await mesh.http.post(ASK, json=QUESTION)
    await mesh.http.post("/v1/collections/none:ask", json=QUESTION)
    await mesh.http.get("/v1/nowhere/at-all")
    assert moved.by("ragmesh_http_calls_total", method=ASK_METHOD, status="200") == 1
    assert moved.by("ragmesh_http_calls_total", method=ASK_METHOD, status="404") == 1
    assert moved.by("ragmesh_http_calls_total", method="unknown", status="404") == 1
    assert moved.by("ragmesh_http_seconds_count", method=ASK_METHOD) == 2
    assert moved.by("ragmesh_http_in_flight", method=ASK_METHOD) == 0
    assert moved.by("ragmesh_http_in_flight", method="unknown") == 0
    assert moved.by("ragmesh_failed_calls_total", reason="ROUTE_NOT_FOUND") == 1
    assert moved.by("ragmesh_failed_calls_total", reason="COLLECTION_NOT_FOUND") == 2  # there and here


@pytest.mark.parametrize("surface", ["rest", "grpc"])
async def test_an_open_stream_shows_while_it_is_open_and_when_its_first_words_came(mesh: Mesh, surface: str) -> None:
    mesh.generator.steps = asyncio.Semaphore(1)
    moved = Moved()

    def one_is_open() -> bool:
        return moved.by("ragmesh_open_streams", method=STREAM_METHOD) == 1

    if surface == "rest":
        async with mesh.http.stream("POST", STREAM, json=QUESTION) as reply:
            lines = reply.aiter_lines()
            async for line in lines:
                if line == "event: token":
                    break
            assert one_is_open()
            assert moved.by("ragmesh_http_in_flight", method=STREAM_METHOD) == 1
    else:
        call: Any = ask_pb2_grpc.AskServiceStub(mesh.channel).AskStream(
            ask_pb2.AskStreamRequest(collection_id="docs", question="What?"), metadata=mesh.auth
        )
        async for event in call:
            if event.HasField("token"):
                break
        assert one_is_open()
        call.cancel()
    await until(lambda: moved.by("ragmesh_open_streams", method=STREAM_METHOD) == 0)
    assert moved.by("ragmesh_first_reply_seconds_count", method=STREAM_METHOD) == 1
    assert moved.by("ragmesh_answer_first_token_seconds_count") == 1
    assert moved.by("ragmesh_answers_total", method=STREAM_METHOD) == 0  # nobody heard its end
    if surface == "rest":
        await until(lambda: moved.by("ragmesh_http_calls_total", method=STREAM_METHOD, status="499") == 1)
        assert moved.by("ragmesh_http_in_flight", method=STREAM_METHOD) == 0


async def test_keys_count_by_what_came_of_them(mesh: Mesh) -> None:
    reader = await mesh.key_with(frozenset())
    moved = Moved()
    for authorization in (f"Bearer {mesh.key}", "", "Basic x", "Bearer rag_live_no_no_no", f"Bearer {reader}"):
        await mesh.http.get("/v1/collections/docs", headers={"authorization": authorization})
    counted = {labels["outcome"]: count for labels, count in moved.series("ragmesh_key_checks_total")}
    assert counted == {"accepted": 1, "missing": 1, "refused": 2, "lacks_scope": 1}


async def test_nothing_of_a_caller_is_in_the_metrics(mesh: Mesh) -> None:
    secrets = {
        "question": "zanzibarquestion",
        "document": "quokkadocument",
        "tenant": "tenantnarwhal",
        "collection": "collectionaxolotl",
        "route": "routeokapi",
        "request": "requestcapybara",
    }
    key = await mesh.key_with(DATA_SCOPES, tenant=secrets["tenant"])
    headers = {"authorization": f"Bearer {key}", "x-request-id": secrets["request"]}
    asked = {"question": secrets["question"]}
    for collection in ("docs", secrets["collection"]):
        await mesh.http.post(f"/v1/collections/{collection}:ask", json=asked, headers=headers)
        await mesh.http.post(f"/v1/collections/{collection}:askStream", json=asked, headers=headers)
    document = {"document_id": secrets["document"], "text": secrets["document"]}
    await mesh.http.post("/v1/collections/docs/documents:batchCreate", json={"documents": [document]}, headers=headers)
    await mesh.http.get(f"/v1/{secrets['route']}/x?{secrets['route']}=1", headers=headers)
    await mesh.http.request(secrets["route"].upper(), "/v1/collections/docs", headers=headers)
    channel: Any = mesh.channel  # its stubs want serializers
    with pytest.raises(grpc.aio.AioRpcError):
        await channel.unary_unary(f"/{secrets['route']}/Method")(b"", metadata=(("authorization", f"Bearer {key}"),))
    shown = generate_latest().decode().lower()
    assert "ragmesh_http_calls_total" in shown
    assert [name for name, word in secrets.items() if word.lower() in shown] == []
    assert key.lower() not in shown
    assert mesh.key.lower() not in shown
    assert key.split("_")[2].lower() not in shown
