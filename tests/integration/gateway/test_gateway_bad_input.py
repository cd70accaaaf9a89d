"""The same bad input is refused with the same sentence and reason on gRPC, REST and SSE."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.message import Message

from ragmesh.gateway.v1 import (
    ask_pb2,
    ask_pb2_grpc,
    collections_pb2,
    collections_pb2_grpc,
    documents_pb2,
    documents_pb2_grpc,
    keys_pb2,
    keys_pb2_grpc,
    search_pb2,
    search_pb2_grpc,
)
from ragmesh_servicekit.errors import MeshError
from ragmesh_servicekit.status import error_of_call
from support.gateway_mesh import Mesh

pytestmark = pytest.mark.asyncio(loop_scope="module")

MANY = {str(n): "x" for n in range(65)}


async def refused(call: Awaitable[Any]) -> MeshError:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    return error_of_call(failed.value)


async def first_of(call: Any) -> Any:
    return await anext(aiter(call))


QUESTIONS: list[dict[str, Any]] = [
    {},
    {"question": ""},
    {"question": " \n\t"},
    {"question": "a\u0000b"},
    {"question": "x" * 4001},
    {"question": "q", "top_k": 51},
    {"question": "q", "top_k": -1},
    {"question": "q", "max_tokens": 8193},
    {"question": "q", "mode": 9},
    {"question": "q", "filter": {"document_ids": [""]}},
    {"question": "q", "filter": {"document_ids": ["x"] * 101}},
    {"question": "q", "filter": {"document_ids": ["x" * 513]}},
]


@pytest.mark.parametrize("fields", QUESTIONS, ids=lambda fields: json.dumps(fields)[:40])
async def test_a_bad_question_is_refused_alike_everywhere(shared_mesh: Mesh, fields: dict[str, Any]) -> None:
    whole = await shared_mesh.http.post("/v1/collections/docs:ask", json=fields)
    streamed = await shared_mesh.http.post("/v1/collections/docs:askStream", json=fields)
    assert whole.status_code == streamed.status_code == 400
    problem = whole.json()
    assert {**streamed.json(), "request_id": ""} == {**problem, "request_id": ""}
    stub = ask_pb2_grpc.AskServiceStub(shared_mesh.channel)
    request = ask_pb2.AskRequest(collection_id="docs", **fields)
    stream_request = ask_pb2.AskStreamRequest(collection_id="docs", **fields)
    for error in (
        await refused(stub.Ask(request, metadata=shared_mesh.auth)),
        await refused(first_of(stub.AskStream(stream_request, metadata=shared_mesh.auth))),
    ):
        assert (error.message, error.reason) == (problem["detail"], problem["reason"])
        assert [v.field for v in error.violations] == [v["field"] for v in problem["violations"]]


Stub = Callable[[Mesh], Any]
OTHERS: list[tuple[str, str, dict[str, Any], Stub, Message]] = [
    (
        "POST", "/v1/collections", {"collection_id": "a b"},
        lambda m: collections_pb2_grpc.CollectionServiceStub(m.channel).CreateCollection,
        collections_pb2.CreateCollectionRequest(collection_id="a b"),
    ),
    (
        "POST", "/v1/collections", {"collection_id": "taken"},
        lambda m: collections_pb2_grpc.CollectionServiceStub(m.channel).CreateCollection,
        collections_pb2.CreateCollectionRequest(collection_id="taken"),
    ),
    (
        "PATCH", "/v1/collections/c", {"labels": MANY},
        lambda m: collections_pb2_grpc.CollectionServiceStub(m.channel).UpdateCollection,
        collections_pb2.UpdateCollectionRequest(collection_id="c", labels=MANY),
    ),
    (
        "POST", "/v1/collections/c/documents:batchCreate", {"documents": [{"text": "x"}, {"title": "y"}]},
        lambda m: documents_pb2_grpc.DocumentServiceStub(m.channel).BatchCreateDocuments,
        documents_pb2.BatchCreateDocumentsRequest(collection_id="c", documents=[{"text": "x"}, {"title": "y"}]),  # type: ignore[list-item]  # protobuf takes dicts
    ),
    (
        "POST", "/v1/collections/c/documents:batchCreate", {"documents": [{"text": "x"}] * 201},
        lambda m: documents_pb2_grpc.DocumentServiceStub(m.channel).BatchCreateDocuments,
        documents_pb2.BatchCreateDocumentsRequest(collection_id="c", documents=[{"text": "x"}] * 201),  # type: ignore[list-item]  # protobuf takes dicts
    ),
    (
        "POST", "/v1/collections/c/documents", {"text": "x", "metadata": {"k": "v" * 1001}, "request_id": "a b"},
        lambda m: documents_pb2_grpc.DocumentServiceStub(m.channel).CreateDocument,
        documents_pb2.CreateDocumentRequest(
            collection_id="c", text="x", metadata={"k": "v" * 1001}, request_id="a b"
        ),
    ),
    (
        "POST", "/v1/collections/none:search", {"query": "q"},
        lambda m: search_pb2_grpc.SearchServiceStub(m.channel).Search,
        search_pb2.SearchRequest(collection_id="none", query="q"),
    ),
    (
        "POST", "/v1/keys", {"display_name": "n", "scopes": ["everything"]},
        lambda m: keys_pb2_grpc.KeyServiceStub(m.channel).CreateKey,
        keys_pb2.CreateKeyRequest(display_name="n", scopes=["everything"]),
    ),
    (
        "GET", "/v1/keys?page_token=xyz", {},
        lambda m: keys_pb2_grpc.KeyServiceStub(m.channel).ListKeys,
        keys_pb2.ListKeysRequest(page_token="xyz"),
    ),
    (
        "POST", "/v1/keys/nobody:revoke", {},
        lambda m: keys_pb2_grpc.KeyServiceStub(m.channel).RevokeKey,
        keys_pb2.RevokeKeyRequest(key_id="nobody"),
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("verb", "path", "body", "stub", "request_message"), OTHERS, ids=[f"{verb} {path}" for verb, path, *_ in OTHERS]
)
async def test_a_bad_request_is_refused_alike_on_both_surfaces(
    shared_mesh: Mesh, verb: str, path: str, body: dict[str, Any], stub: Stub, request_message: Message
) -> None:
    reply = await shared_mesh.http.request(verb, path, json=body if verb != "GET" else None)
    problem = reply.json()
    error = await refused(stub(shared_mesh)(request_message, metadata=shared_mesh.auth))
    assert (error.code, error.message, error.reason) == (problem["code"], problem["detail"], problem["reason"])
    assert reply.headers["x-request-id"] == problem["request_id"]


async def test_bytes_that_are_no_message_and_fields_that_the_contract_lacks_are_refused(shared_mesh: Mesh) -> None:
    call = shared_mesh.channel.unary_unary("/ragmesh.gateway.v1.SearchService/Search", None, None)
    for raw, reason in ((b"\xff\xff", "MALFORMED_REQUEST"), (b"\x12\x01\xff", "MALFORMED_REQUEST")):
        assert (await refused(call(raw, metadata=shared_mesh.auth))).reason == reason
    known = search_pb2.SearchRequest(collection_id="docs", query="q").SerializeToString()
    assert (await refused(call(known + b"\xa0\x06\x01", metadata=shared_mesh.auth))).reason == "UNKNOWN_FIELD"


DIFFERS = "collection_id: differs from the one in the path"
MALFORMED = [
    (b"\xff{}", {}, 400, "MALFORMED_REQUEST", "body: is not valid UTF-8"),
    (b"[1]", {}, 400, "MALFORMED_REQUEST", "body: must be a JSON object"),
    (b"{", {}, 400, "MALFORMED_REQUEST", "body: is not valid JSON (line 1, column 2)"),
    (b'{"top_k": NaN}', {}, 400, "MALFORMED_REQUEST", "body: is not valid JSON"),
    (b"[" * 100_000, {}, 400, "MALFORMED_REQUEST", "body: is not valid JSON"),
    (b'{"top_k": ' + b"9" * 5000 + b"}", {}, 400, "MALFORMED_REQUEST", "body: is not valid JSON"),
    (b'{"top_k": 1e400}', {}, 400, "FIELD_INVALID", "top_k: must be a whole number"),
    (b'{"query": "a", "query": "b"}', {}, 400, "FIELD_INVALID", "query: is given twice"),
    (b'{"top_k": 1, "topK": 2}', {}, 400, "FIELD_INVALID", "topK: is given twice"),
    (b'{"query": "\\ud800"}', {}, 400, "FIELD_INVALID", "query: has a lone surrogate, which is not Unicode text"),
    (b'{"\\ud800": 1}', {}, 400, "UNKNOWN_FIELD", "\\ud800: is not a field of this request"),
    (b'{"nonsense": 1}', {}, 400, "UNKNOWN_FIELD", "nonsense: is not a field of this request"),
    (b'{"filter": {"x": 1}}', {}, 400, "UNKNOWN_FIELD", "filter.x: is not a field of this request"),
    (b'{"collection_id": "b", "query": "q"}', {}, 400, "FIELD_INVALID", DIFFERS),
    (b'{"collectionId": "b", "query": "q"}', {}, 400, "FIELD_INVALID", DIFFERS),
    (b"<x/>", {"content-type": "application/xml"}, 415, "MALFORMED_REQUEST", "content-type: must be application/json"),
    (b"", {}, 400, "FIELD_INVALID", "query: must not be empty"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "headers", "status", "reason", "sentence"), MALFORMED, ids=lambda v: repr(v)[:30])
async def test_a_malformed_body_is_refused_by_name(
    shared_mesh: Mesh, body: bytes, headers: dict[str, str], status: int, reason: str, sentence: str
) -> None:
    headers = {"content-type": "application/json", **headers}
    reply = await shared_mesh.http.post("/v1/collections/docs:search", content=body, headers=headers)
    problem = reply.json()
    assert (reply.status_code, problem["reason"], problem["detail"]) == (status, reason, sentence)
    assert reply.headers["content-type"] == "application/problem+json"


async def test_curl_needs_no_content_type(shared_mesh: Mesh) -> None:
    for kind in ("application/x-www-form-urlencoded", "application/json; charset=utf-8", "application/ld+json"):
        reply = await shared_mesh.http.post(
            "/v1/collections/docs:search", content=b'{"query": "q"}', headers={"content-type": kind}
        )
        assert reply.status_code == 200, kind


@pytest.mark.parametrize(
    ("query", "reason", "sentence"),
    [
        ("page_size=x", "FIELD_INVALID", "page_size: must be a whole number"),
        ("page_size=1_0", "FIELD_INVALID", "page_size: must be a whole number"),
        ("page_size=1&page_size=2", "FIELD_INVALID", "page_size: is given twice"),
        ("page_size=201", "FIELD_INVALID", "page_size: must be from 1 to 200, not 201"),
        ("state=LOST", "FIELD_INVALID", "state: must be one of ACCEPTED, RUNNING, READY, DEAD_LETTERED, CANCELLED"),
        ("who=1", "UNKNOWN_FIELD", "who: is not a field of this request"),
        ("state.x=1", "UNKNOWN_FIELD", "state.x: is not a field of this request"),
        ("batch_id=%zz", "MALFORMED_REQUEST", "query: is not percent-encoded UTF-8 of at most 1,000 parameters"),
        ("batch_id=%ff", "MALFORMED_REQUEST", "query: is not percent-encoded UTF-8 of at most 1,000 parameters"),
    ],
)
async def test_a_wrong_query_is_refused_by_name(shared_mesh: Mesh, query: str, reason: str, sentence: str) -> None:
    status, _, body = await shared_mesh.raw(f"GET /v1/jobs?{query} HTTP/1.1")
    assert (status, json.loads(body)["reason"], json.loads(body)["detail"]) == (400, reason, sentence)


async def test_ids_are_decoded_once_and_only_where_they_are_encoded(shared_mesh: Mesh) -> None:
    base = "GET /v1/collections/c/documents/"
    for encoded, meant in (
        ("a/b", "a/b"), ("a%2Fb", "a/b"), ("a%252Fb", "a%2Fb"), ("%C3%A9%20x", "é x"), ("x%3Acontent", "x:content"),
        ("a+b", "a+b"), ("..%2F..", "../.."), ("a/chunks", "a/chunks"), ("x.md", "x.md"),
    ):  # fmt: skip
        status, _, body = await shared_mesh.raw(f"{base}{encoded} HTTP/1.1")
        assert (status, json.loads(body)["document_id"]) == (200, meant), encoded
    status, _, body = await shared_mesh.raw(f"{base}a/b%3Ac:content HTTP/1.1")
    assert (status, json.loads(body)["text"]) == (200, "a/b:c")
    for wrong in ("%zz", "%ff", "a%"):
        status, _, body = await shared_mesh.raw(f"{base}{wrong} HTTP/1.1")
        assert (status, json.loads(body)["violations"][0]["field"]) == (400, "document_id"), wrong
    for wrong in ("", "/v1/collections//documents/x", "/v1/collections/c/documents/"):
        assert (await shared_mesh.http.get(wrong)).status_code == 404, wrong


async def test_verbs_that_a_path_does_not_take_are_405_with_allow(shared_mesh: Mesh) -> None:
    for verb, path, allow in (
        ("PUT", "/v1/collections", "GET, HEAD, POST"),
        ("GET", "/v1/collections/c:search", "POST"),
        ("POST", "/v1/collections/c", "DELETE, GET, HEAD, PATCH"),
        ("GET", "/v1/collections/c/documents:upload", "POST"),
        ("POST", "/openapi.json", "GET, HEAD"),
        ("OPTIONS", "/v1/jobs:watch", "GET, HEAD"),
    ):
        reply = await shared_mesh.http.request(verb, path)
        assert (reply.status_code, reply.headers["allow"]) == (405, allow), path
    assert (await shared_mesh.http.get("/v2/x")).status_code == 404


async def test_head_answers_as_get_without_a_body(shared_mesh: Mesh) -> None:
    for path in ("/v1/collections/c", "/openapi.json", "/v1/jobs:watch?batch_id=b"):
        reply = await shared_mesh.http.head(path)
        assert (reply.status_code, reply.content) == (200, b""), path
    await asyncio.wait_for(shared_mesh.ingestor.watch_over.wait(), 1)


async def test_a_request_id_is_kept_when_it_is_harmless_and_replaced_when_not(shared_mesh: Mesh) -> None:
    for given, kept in (("abc-1", True), ("a b", False), ("x" * 129, False), ("é", False), ("", False)):
        _, headers, _ = await shared_mesh.raw(f"GET /v1/collections/c HTTP/1.1\r\nx-request-id: {given}")
        assert (headers["x-request-id"] == given) is kept
        assert headers["x-request-id"].isascii()
