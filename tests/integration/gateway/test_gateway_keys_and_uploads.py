"""Who may do what, on a real key store; uploads; writes that are safe to repeat."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import grpc.aio
import pytest

from ragmesh.gateway.v1 import documents_pb2, documents_pb2_grpc, keys_pb2, keys_pb2_grpc
from ragmesh_gateway.domain.scopes import ALL_SCOPES
from ragmesh_gateway.server.contract import Method
from ragmesh_servicekit.api_key import new_key
from ragmesh_servicekit.errors import MeshError
from ragmesh_servicekit.status import error_of_call
from support.gateway_mesh import METHODS, Mesh

pytestmark = pytest.mark.asyncio(loop_scope="module")

UPLOAD = "/v1/collections/c/documents:upload"


async def refused(call: Awaitable[Any]) -> MeshError:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    return error_of_call(failed.value)


async def call_grpc(mesh: Mesh, method: Method, key: str) -> MeshError:
    metadata = (("authorization", f"Bearer {key}"),) if key else ()
    codecs: dict[str, Any] = {"request_serializer": method.request.SerializeToString}
    request = method.request()
    if method.client_streaming:

        async def requests() -> Any:
            yield request

        return await refused(mesh.channel.stream_unary(method.path, **codecs)(requests(), metadata=metadata))
    if method.server_streaming:
        call = mesh.channel.unary_stream(method.path, **codecs)(request, metadata=metadata)
        return await refused(anext(aiter(call)))
    return await refused(mesh.channel.unary_unary(method.path, **codecs)(request, metadata=metadata))


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
async def test_every_method_wants_a_key_with_its_scope_on_both_surfaces(shared_mesh: Mesh, method: Method) -> None:
    mesh = shared_mesh
    wrong = await mesh.key_with(ALL_SCOPES - {method.scope})
    routes = [(b.verb, re.sub(r"\{[^}]*\}", "x", b.path)) for b in method.http] or [("POST", UPLOAD)]
    for key, status, reason in (("", 401, "KEY_MISSING"), (wrong, 403, "SCOPE_MISSING")):
        error = await call_grpc(mesh, method, key)
        assert error.reason == reason
        assert status == 401 or method.scope in error.message
        for verb, path in routes:
            headers = {"authorization": f"Bearer {key}" if key else ""}
            reply = await mesh.http.request(verb, path, headers=headers, content=b"\xff not even JSON")
            assert (reply.status_code, reply.json()["reason"]) == (status, reason)
            assert reply.json()["detail"] == error.message
            assert ("www-authenticate" in reply.headers) is (status == 401)
    assert shared_mesh.ingestor.seen == []


async def test_wrong_expired_revoked_and_malformed_keys_are_refused(shared_mesh: Mesh) -> None:
    mesh = shared_mesh
    past = datetime.now(UTC) - timedelta(seconds=1)
    good = await mesh.key_with(ALL_SCOPES)
    expired = await mesh.key_with(ALL_SCOPES, expires_at=past)
    revoked = await mesh.key_with(ALL_SCOPES, revoked_at=past)
    sentences = set()
    for key in (new_key(), expired, revoked):
        reply = await mesh.http.get("/v1/collections/c", headers={"authorization": f"Bearer {key}"})
        assert (reply.status_code, reply.json()["reason"]) == (401, "KEY_INVALID")
        sentences.add(reply.json()["detail"])
    assert len(sentences) == 1
    for header in (good, f"Basic {good}", "Bearer", "Bearer x", f"Bearer {good}x"):
        reply = await mesh.http.get("/v1/collections/c", headers={"authorization": header})
        assert (reply.status_code, reply.json()["reason"]) == (401, "KEY_INVALID"), header
    reply = await mesh.http.get("/v1/collections/c", headers={"authorization": f"bearer  {good}"})
    assert reply.status_code == 200


async def test_a_key_is_made_used_listed_and_revoked(shared_mesh: Mesh) -> None:
    mesh = shared_mesh
    made = await mesh.http.post("/v1/keys", json={"display_name": "ci", "scopes": ["collections:read"]})
    assert made.status_code == 200
    assert made.headers["cache-control"] == "no-store"
    secret, key_id = made.json()["secret"], made.json()["key"]["key_id"]
    headers = {"authorization": f"Bearer {secret}"}
    assert (await mesh.http.get("/v1/collections/c", headers=headers)).status_code == 200
    ids, token = [], ""
    while True:
        page = (await mesh.http.get("/v1/keys", params={"page_size": 2, "page_token": token})).json()
        ids += [key["key_id"] for key in page["keys"]]
        assert "secret" not in str(page)
        token = page["next_page_token"]
        if not token:
            break
    assert key_id in ids
    assert ids == sorted(set(ids))
    revoked = await mesh.http.post(f"/v1/keys/{key_id}:revoke")
    assert revoked.json()["revoke_time"]
    assert (await mesh.http.get("/v1/collections/c", headers=headers)).status_code == 401


async def test_tenants_do_not_see_each_other(shared_mesh: Mesh) -> None:
    mesh = shared_mesh
    made = await mesh.http.post("/v1/keys", json={"display_name": "other", "tenant_id": "globex"})
    headers = {"authorization": f"Bearer {made.json()['secret']}"}
    other = await mesh.http.get("/v1/collections/c", headers=headers)
    assert (other.status_code, other.json()["reason"]) == (404, "COLLECTION_NOT_FOUND")
    assert mesh.ingestor.seen[-1][0] == "globex"
    admin = await mesh.key_with(frozenset({"keys:admin"}), tenant="globex")
    listed = await mesh.http.get("/v1/keys", headers={"authorization": f"Bearer {admin}"})
    assert {key["tenant_id"] for key in listed.json()["keys"]} == {"globex"}
    ours = (await mesh.http.get("/v1/keys")).json()["keys"][0]["key_id"]
    theirs = await mesh.http.post(f"/v1/keys/{ours}:revoke", headers={"authorization": f"Bearer {admin}"})
    assert (theirs.status_code, theirs.json()["reason"]) == (404, "KEY_NOT_FOUND")
    more = await mesh.http.post(
        "/v1/keys", json={"display_name": "x", "tenant_id": "acme"}, headers={"authorization": f"Bearer {admin}"}
    )
    assert (more.status_code, more.json()["reason"]) == (403, "SCOPE_MISSING")


async def test_an_expiry_that_is_no_time_is_refused_on_both_surfaces(shared_mesh: Mesh) -> None:
    mesh = shared_mesh
    for time in ("tomorrow", "2026-01-01", 5, "99999-01-01T00:00:00Z", "2020-01-01T00:00:00Z"):
        reply = await mesh.http.post("/v1/keys", json={"display_name": "x", "expire_time": time})
        assert (reply.status_code, reply.json()["violations"][0]["field"]) == (400, "expire_time"), time
    stub = keys_pb2_grpc.KeyServiceStub(mesh.channel)
    for seconds in (10**15, -(10**15)):
        request = keys_pb2.CreateKeyRequest(display_name="x")
        request.expire_time.seconds = seconds
        error = await refused(stub.CreateKey(request, metadata=mesh.auth))
        assert error.violations[0].field == "expire_time"


async def test_a_file_is_uploaded_in_one_form(shared_mesh: Mesh) -> None:
    mesh = shared_mesh
    mesh.ingestor.uploaded.clear()
    content = bytes(range(256)) * 8192
    reply = await mesh.http.post(
        UPLOAD,
        files={"file": ("a b.md", content, "text/markdown")},
        data={"document_id": "d/1", "metadata": '{"who": "me"}', "batch_id": "b"},
        headers={"idempotency-key": "again-1"},
    )
    assert reply.status_code == 202
    assert reply.json()["document_id"] == "d/1"
    tenant, header = mesh.ingestor.seen[-1]
    assert (tenant, header.file_name, header.media_type) == ("acme", "a b.md", "text/markdown")
    assert (header.collection_id, header.batch_id, header.request_id) == ("c", "b", "again-1")
    assert dict(header.metadata) == {"who": "me"}
    assert bytes(mesh.ingestor.uploaded) == content


FILE = {"file": ("a.md", b"# A", "text/markdown")}


@pytest.mark.parametrize(
    ("request_of", "status", "reason", "field"),
    [
        ({"files": FILE, "data": {"metadata": "{"}}, 400, "FIELD_INVALID", "metadata"),
        ({"files": FILE, "data": {"metadata": "[" * 30_000}}, 400, "FIELD_INVALID", "metadata"),
        ({"files": FILE, "data": {"metadata": '{"a": 1}'}}, 400, "FIELD_INVALID", 'metadata["a"]'),
        ({"files": FILE, "data": {"nonsense": "x"}}, 400, "UNKNOWN_FIELD", "nonsense"),
        ({"files": FILE, "data": {"title": ["a", "b"]}}, 400, "FIELD_INVALID", "title"),
        ({"files": FILE, "data": {"title": "x" * 501}}, 400, "FIELD_INVALID", "header.title"),
        ({"files": FILE, "data": {"document_id": "a\nb"}}, 400, "FIELD_INVALID", "header.document_id"),
        ({"files": {"other": ("a.md", b"x")}}, 400, "FIELD_INVALID", "file"),
        ({"data": {"file": "not a file"}, "files": {"x": ("", b"")}}, 400, "FIELD_INVALID", "file"),
        ({"files": [("file", ("a.md", b"x")), ("file", ("b.md", b"y"))]}, 400, "MALFORMED_REQUEST", ""),
        ({"files": {"file": ("a.md", b"x" * (10 * 2**20 + 1))}}, 413, "CONTENT_TOO_LARGE", "content"),
        ({"json": {"text": "x"}}, 415, "MALFORMED_REQUEST", ""),
        ({"content": b"", "headers": {"content-type": "multipart/form-data"}}, 400, "MALFORMED_REQUEST", ""),
        (
            {"content": b"junk\r\n--b", "headers": {"content-type": "multipart/form-data; boundary=b"}},
            400, "MALFORMED_REQUEST", "",
        ),
        (
            {"content": b"--b\r\ncontent-disposition: form-data\r\n\r\nx\r\n--b--",
             "headers": {"content-type": "multipart/form-data; boundary=b"}},
            400, "MALFORMED_REQUEST", "",
        ),
        (
            {"content": b"--b\r\n\xff\xfe: x", "headers": {"content-type": "multipart/form-data; boundary=b"}},
            400, "MALFORMED_REQUEST", "",
        ),
    ],
    ids=lambda v: repr(v)[:40],
)  # fmt: skip
async def test_a_wrong_form_is_refused_by_name(
    shared_mesh: Mesh, request_of: dict[str, Any], status: int, reason: str, field: str
) -> None:
    reply = await shared_mesh.http.post(UPLOAD, **request_of)
    problem = reply.json()
    assert (reply.status_code, problem["reason"]) == (status, reason), problem
    assert [v["field"] for v in problem.get("violations", [])] == ([field] if field else []), problem


async def test_a_form_that_announces_too_much_is_refused_unread(shared_mesh: Mesh) -> None:
    head = f"POST {UPLOAD} HTTP/1.1\r\ncontent-type: multipart/form-data; boundary=b"
    status, _, body = await shared_mesh.raw(head, announced=2**40)
    assert (status, json.loads(body)["reason"]) == (413, "CONTENT_TOO_LARGE")


async def test_an_upload_over_grpc_is_checked_piece_by_piece(shared_mesh: Mesh) -> None:
    mesh = shared_mesh
    stub = documents_pb2_grpc.DocumentServiceStub(mesh.channel)

    async def parts(title: str) -> Any:
        header = documents_pb2.UploadHeader(collection_id="c", file_name="a.md", title=title)
        yield documents_pb2.UploadDocumentRequest(header=header)
        yield documents_pb2.UploadDocumentRequest(data=b"# A")

    reply = await stub.UploadDocument(parts("A"), metadata=mesh.auth)
    assert reply.job.document_id == "a.md"
    rest = await mesh.http.post(UPLOAD, files=FILE, data={"title": "\x01"})
    error = await refused(stub.UploadDocument(parts("\x01"), metadata=mesh.auth))
    assert (error.message, error.reason) == (rest.json()["detail"], rest.json()["reason"])


async def test_the_idempotency_key_is_the_request_id(shared_mesh: Mesh) -> None:
    mesh = shared_mesh
    path = "/v1/collections/c/documents"
    for body, key, expected in (
        ({"text": "x"}, "k1", "k1"),
        ({"text": "x", "request_id": "k2"}, "", "k2"),
        ({"text": "x", "requestId": "k3"}, "k3", "k3"),
    ):
        reply = await mesh.http.post(path, json=body, headers={"idempotency-key": key})
        assert (reply.status_code, reply.json()["state"]) == (202, "ACCEPTED")
        assert mesh.ingestor.seen[-1][1].request_id == expected
    reply = await mesh.http.post(path, json={"text": "x", "request_id": "a"}, headers={"idempotency-key": "b"})
    assert reply.json()["detail"] == "request_id: differs from the header Idempotency-Key"
    reply = await mesh.http.post(path, json={"text": "x"}, headers={"idempotency-key": "a b"})
    assert reply.json()["violations"][0]["field"] == "request_id"
