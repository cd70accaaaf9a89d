"""What JSON is refused, and how the refusal names the field."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from ragmesh.gateway.v1 import documents_pb2, jobs_pb2, keys_pb2, search_pb2
from ragmesh_gateway.rest.decoding import fill, parse_body
from ragmesh_gateway.rest.encoding import to_dict
from ragmesh_gateway.rest.query import from_query, parse_query
from ragmesh_servicekit.errors import InvalidArgument, MeshError

SEARCH, BATCH = search_pb2.SearchRequest, documents_pb2.BatchCreateDocumentsRequest
UPLOAD, KEY = documents_pb2.UploadDocumentRequest, keys_pb2.CreateKeyRequest


@pytest.mark.parametrize(
    ("kind", "value", "field", "description"),
    [
        (SEARCH, {"query": 5}, "query", "must be a string"),
        (SEARCH, {"query": ["x"]}, "query", "must be a string"),
        (SEARCH, {"top_k": "x"}, "top_k", "must be a whole number"),
        (SEARCH, {"top_k": 1.5}, "top_k", "must be a whole number"),
        (SEARCH, {"top_k": True}, "top_k", "must be a whole number"),
        (SEARCH, {"top_k": " 5"}, "top_k", "must be a whole number"),
        (SEARCH, {"top_k": "٣"}, "top_k", "must be a whole number"),
        (SEARCH, {"top_k": float("inf")}, "top_k", "must be a whole number"),
        (SEARCH, {"top_k": 2**31}, "top_k", "must be from -2147483648 to 2147483647"),
        (SEARCH, {"explain": "true"}, "explain", "must be true or false"),
        (SEARCH, {"mode": "FUZZY"}, "mode", "must be one of DENSE, BM25, HYBRID, GRAPH"),
        (SEARCH, {"mode": 77}, "mode", "must be one of DENSE, BM25, HYBRID, GRAPH"),
        (SEARCH, {"mode": True}, "mode", "must be one of DENSE, BM25, HYBRID, GRAPH"),
        (SEARCH, {"filter": []}, "filter", "must be an object"),
        (SEARCH, {"filter": {"document_ids": "x"}}, "filter.document_ids", "must be a list"),
        (SEARCH, {"filter": {"document_ids": ["a", 1]}}, "filter.document_ids[1]", "must be a string"),
        (BATCH, {"documents": [{"text": "a"}, {"text": 1}]}, "documents[1].text", "must be a string"),
        (BATCH, {"documents": [{"texts": "a"}]}, "documents[0].texts", "is not a field of this request"),
        (BATCH, {"documents": [None]}, "documents[0]", "must be an object"),
        (BATCH, {"documents": [{"metadata": []}]}, "documents[0].metadata", "must be an object"),
        (BATCH, {"documents": [{"metadata": {"a": 1}}]}, 'documents[0].metadata["a"]', "must be a string"),
        (UPLOAD, {"data": "%%%"}, "data", "must be base64 text"),
        (UPLOAD, {"data": 5}, "data", "must be base64 text"),
        (KEY, {"expire_time": "soon"}, "expire_time", "must be an RFC 3339 time such as 2026-01-31T12:00:00Z"),
        (KEY, {"expire_time": {}}, "expire_time", "must be an RFC 3339 time such as 2026-01-31T12:00:00Z"),
        (SEARCH, {"x" * 5000: 1}, "x" * 64 + "…", "is not a field of this request"),
    ],
    ids=lambda v: repr(v)[:30],
)
def test_a_wrong_value_is_refused_by_its_path(
    kind: type[Message], value: dict[str, Any], field: str, description: str
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        fill(kind(), value)
    (violation,) = refused.value.violations
    assert (violation.field, violation.description) == (field, description)
    assert refused.value.message == f"{field}: {description}"


def test_both_forms_of_what_proto3_json_takes_are_taken() -> None:
    for mode in ("BM25", "bm25", "SEARCH_MODE_BM25", "search_mode_bm25", 2):
        message = SEARCH()
        fill(message, {"mode": mode, "topK": "7", "query": None, "maxPerDocument": 2.0})
        assert (message.mode, message.top_k, message.query, message.max_per_document) == (2, 7, "", 2)
    for data in ("-_8=", "+/8=", "-_8"):
        part = UPLOAD()
        fill(part, {"data": data})
        assert part.data == b"\xfb\xff"


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.sampled_from([SEARCH, BATCH, UPLOAD, KEY, jobs_pb2.ListJobsRequest]),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
        lambda inner: st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["query", "topK", "mode", "filter", "document_ids", "documents", "text", "metadata",
                             "data", "header", "expire_time", "scopes", "state"]) | st.text(max_size=3),
            inner, max_size=4),
        max_leaves=12,
    ).filter(lambda v: isinstance(v, dict)),
)  # fmt: skip
def test_nothing_but_a_refusal_comes_of_any_json(kind: type[Message], value: Any) -> None:
    message = kind()
    try:
        fill(message, value)
    except MeshError as error:
        error.message.encode()
    else:
        to_dict(message)
        message.SerializeToString()


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(max_size=40))
def test_any_text_is_a_time_or_refused(text: str) -> None:
    with suppress(InvalidArgument):
        fill(KEY(), {"expire_time": text})


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.binary(max_size=60))
def test_any_bytes_are_a_json_object_or_refused(body: bytes) -> None:
    try:
        assert isinstance(parse_body(body), dict)
    except InvalidArgument as error:
        error.message.encode()


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.binary(max_size=60))
def test_any_query_is_read_or_refused(raw: bytes) -> None:
    try:
        fill(jobs_pb2.ListJobsRequest(), from_query(jobs_pb2.ListJobsRequest.DESCRIPTOR, parse_query(raw)))
    except InvalidArgument as error:
        error.message.encode()


def test_a_query_reaches_lists_and_nested_messages() -> None:
    pairs = parse_query(b"filter.document_ids=a%2Fb&filter.documentIds=c&explain=TRUE&query=x+y")
    with pytest.raises(InvalidArgument):
        fill(SEARCH(), from_query(SEARCH.DESCRIPTOR, pairs))  # one field by two names
    message = SEARCH()
    pairs = parse_query(b"filter.document_ids=a%2Fb&filter.document_ids=c&explain=TRUE&query=x+y&mode=dense")
    fill(message, from_query(SEARCH.DESCRIPTOR, pairs))
    assert (list(message.filter.document_ids), message.explain, message.query) == (["a/b", "c"], True, "x y")
