"""What the mesh refuses, in the same words on both surfaces, and that it goes on serving."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2, status_pb2

from ragmesh.gateway.v1 import documents_pb2, documents_pb2_grpc, search_pb2, search_pb2_grpc
from ragmesh.ingestor.v1 import ingestor_pb2, ingestor_pb2_grpc
from ragmesh.retriever.v1 import retriever_pb2, retriever_pb2_grpc
from support.mesh import Mesh

LIMIT = 10 * 1024 * 1024

FILES = {
    "a PDF that calls itself text": ("notes.txt", b"%PDF-1.7 ...", "text/plain", 415, "CONTENT_TYPE_MISMATCH"),
    "a type that the name contradicts": ("notes.md", b"# hello", "text/html", 415, "CONTENT_TYPE_MISMATCH"),
    "a type that nobody knows": ("notes.xyz", b"hello", "application/x-thing", 415, "CONTENT_TYPE_MISMATCH"),
    "invalid UTF-8": ("notes.txt", b"caf\xe9 noir", "text/plain", 400, "CONTENT_INVALID"),
    "nothing but white space": ("notes.txt", b" \n\t ", "text/plain", 400, "CONTENT_INVALID"),
    "nothing at all": ("notes.txt", b"", "text/plain", 400, "CONTENT_INVALID"),
    "10 MiB and one byte": ("notes.txt", b"a" * (LIMIT + 1), "text/plain", 413, "CONTENT_TOO_LARGE"),
}


def rest_upload(mesh: Mesh, name: str, data: bytes, kind: str) -> tuple[int, str, str]:
    with mesh.rest() as rest:
        reply = rest.post("/v1/collections/facts/documents:upload", files={"file": (name, data, kind)}).json()
        return reply["status"], reply["reason"], reply["detail"]


def reason_of(error: grpc.aio.AioRpcError) -> str:
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(value).details:
                info = error_details_pb2.ErrorInfo()
                if detail.Is(info.DESCRIPTOR) and detail.Unpack(info):
                    return str(info.reason)
    return ""


async def grpc_upload(mesh: Mesh, name: str, data: bytes, kind: str) -> tuple[str, str]:
    async def parts() -> AsyncIterator[documents_pb2.UploadDocumentRequest]:
        header = documents_pb2.UploadHeader(collection_id="facts", file_name=name, media_type=kind)
        yield documents_pb2.UploadDocumentRequest(header=header)
        for start in range(0, len(data), 1 << 20):
            yield documents_pb2.UploadDocumentRequest(data=data[start : start + (1 << 20)])

    async with grpc.aio.insecure_channel(mesh.state()["grpc"]) as channel:
        stub = documents_pb2_grpc.DocumentServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.UploadDocument(parts(), metadata=(("authorization", f"Bearer {mesh.key}"),), timeout=30)
    return reason_of(caught.value), str(caught.value.details())


@pytest.mark.parametrize("case", FILES)
def test_a_file_that_is_refused_is_refused_in_the_same_words_on_both_surfaces(mesh: Mesh, case: str) -> None:
    name, data, kind, status, reason = FILES[case]
    before = documents(mesh)
    rest = rest_upload(mesh, name, data, kind)
    assert rest[:2] == (status, reason), rest
    assert asyncio.run(grpc_upload(mesh, name, data, kind)) == rest[1:]
    assert documents(mesh) == before, "nothing half-written"


def documents(mesh: Mesh) -> int:
    with mesh.rest() as rest:
        return len(rest.get("/v1/collections/facts/documents", params={"page_size": 200}).json()["documents"])


def test_10_mib_to_the_byte_are_taken(mesh: Mesh) -> None:
    line = b"All work and no play makes Jack a dull boy.\n"
    data = (line * (LIMIT // len(line) + 1))[:LIMIT]
    with mesh.rest() as rest:
        reply = rest.post("/v1/collections/facts/documents:upload", files={"file": ("jack.txt", data, "text/plain")})
        assert reply.status_code == 202, reply.text
        job = reply.json()
        assert rest.post(f"/v1/jobs/{job['job_id']}:cancel", json={}).status_code == 200
        rest.delete(f"/v1/collections/facts/documents/{job['document_id']}").raise_for_status()


def test_one_bad_document_of_a_batch_refuses_the_batch_and_is_named(mesh: Mesh) -> None:
    before = documents(mesh)
    body = {"documents": [{"text": "good"}, {"text": "bad\u0000"}]}
    with mesh.rest() as rest:
        reply = rest.post("/v1/collections/facts/documents:batchCreate", json=body)
    assert reply.status_code in {400, 415}, reply.text
    assert "documents[1]" in reply.json()["detail"]
    assert documents(mesh) == before


@pytest.mark.parametrize(
    ("body", "reason", "field"),
    [
        ({"query": ""}, "FIELD_INVALID", "query"),
        ({"query": " \t\n"}, "FIELD_INVALID", "query"),
        ({"query": "x" * 5000}, "FIELD_INVALID", "query"),
        ({"query": "bell \u0007"}, "FIELD_INVALID", "query"),
        ({"query": "fine", "top_k": 101}, "FIELD_INVALID", "top_k"),
        ({"query": "fine", "top_k": -1}, "FIELD_INVALID", "top_k"),
    ],
)
def test_a_query_that_is_refused_is_refused_in_the_same_words_on_both_surfaces(
    mesh: Mesh, body: dict, reason: str, field: str
) -> None:
    async def by_stub() -> tuple[str, str]:
        async with grpc.aio.insecure_channel(mesh.state()["grpc"]) as channel:
            stub = search_pb2_grpc.SearchServiceStub(channel)
            request = search_pb2.SearchRequest(collection_id="facts", **body)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Search(request, metadata=(("authorization", f"Bearer {mesh.key}"),), timeout=10)
            return reason_of(caught.value), str(caught.value.details())

    with mesh.rest() as rest:
        reply = rest.post("/v1/collections/facts:search", json=body).json()
    assert (reply["status"], reply["reason"]) == (400, reason)
    assert reply["violations"][0]["field"] == field
    assert asyncio.run(by_stub()) == (reply["reason"], reply["detail"])


def test_an_unknown_collection_is_not_found_and_the_mesh_goes_on(mesh: Mesh) -> None:
    with mesh.rest() as rest:
        for path in ("/v1/collections/nowhere:search", "/v1/collections/nowhere:ask"):
            body = {"query": "x"} if path.endswith("search") else {"question": "x"}
            reply = rest.post(path, json=body)
            assert (reply.status_code, reply.json()["reason"]) == (404, "COLLECTION_NOT_FOUND")
        assert rest.get("/readyz").status_code == 200
    assert mesh.search("facts", "lighthouse")


def test_inner_services_refuse_whoever_is_not_the_gateway(mesh: Mesh) -> None:
    addresses = {p["name"]: p["address"] for p in mesh.state()["processes"]}

    async def refused(address: str, call: object) -> str:
        async with grpc.aio.insecure_channel(address) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(channel)  # type: ignore[operator]
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
            return reason_of(caught.value)

    search = retriever_pb2.SearchRequest(collection_id="facts", query="lighthouse")
    listing = ingestor_pb2.ListCollectionsRequest()
    forged = (("x-ragmesh-identity", "eyJhbGciOiJub25lIn0.e30."), ("authorization", f"Bearer {mesh.key}"))

    async def everyone() -> list[str]:
        retriever, ingestor = addresses["retriever-1"], addresses["ingestor-1"]
        return [
            await refused(retriever, lambda c: retriever_pb2_grpc.RetrieverServiceStub(c).Search(search)),
            await refused(
                retriever, lambda c: retriever_pb2_grpc.RetrieverServiceStub(c).Search(search, metadata=forged)
            ),
            await refused(ingestor, lambda c: ingestor_pb2_grpc.IngestorServiceStub(c).ListCollections(listing)),
        ]

    assert asyncio.run(everyone()) == ["IDENTITY_MISSING", "IDENTITY_INVALID", "IDENTITY_MISSING"]
