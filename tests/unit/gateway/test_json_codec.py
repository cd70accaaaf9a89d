"""Our JSON codec against protobuf's own, on values of every message of the contract."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from google.protobuf import descriptor as d
from google.protobuf import json_format
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st

from ragmesh.common.v1 import answer_pb2, collection_pb2, document_pb2, errors_pb2, job_pb2, search_pb2
from ragmesh.gateway.v1 import keys_pb2
from ragmesh.gateway.v1 import search_pb2 as public_search_pb2
from ragmesh_gateway.rest.decoding import fill, parse_body
from ragmesh_gateway.rest.encoding import enum_prefix, to_dict, to_json
from ragmesh_gateway.server.contract import PUBLIC_FILES

FILES = (answer_pb2, collection_pb2, document_pb2, errors_pb2, job_pb2, search_pb2, *PUBLIC_FILES)
MESSAGES = [message for file in FILES for message in file.DESCRIPTOR.message_types_by_name.values()]
F = d.FieldDescriptor
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
REAL = st.floats(allow_nan=False, allow_infinity=False)
SCALARS: dict[int, st.SearchStrategy[Any]] = {
    F.TYPE_STRING: TEXT,
    F.TYPE_BYTES: st.binary(max_size=8),
    F.TYPE_BOOL: st.booleans(),
    F.TYPE_DOUBLE: REAL,
    F.TYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    F.TYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    F.TYPE_UINT32: st.integers(0, 2**32 - 1),
}
TIMES = st.builds(Timestamp, seconds=st.integers(-62135596800, 253402300799), nanos=st.integers(0, 999_999_999))


def values(field: d.FieldDescriptor) -> st.SearchStrategy[Any]:
    if field.message_type is not None:
        return messages(field.message_type)
    if field.enum_type is not None:
        return st.sampled_from([v.number for v in field.enum_type.values])
    return SCALARS[field.type]


def messages(descriptor: d.Descriptor) -> st.SearchStrategy[Message]:
    if descriptor.full_name == "google.protobuf.Timestamp":
        return TIMES
    fields: dict[str, st.SearchStrategy[Any]] = {}
    for field in descriptor.fields:
        if field.is_repeated and field.message_type is not None and field.message_type.GetOptions().map_entry:
            fields[field.name] = st.dictionaries(TEXT, TEXT, max_size=2)
        elif field.is_repeated:
            fields[field.name] = st.lists(values(field), max_size=2)
        else:
            fields[field.name] = values(field)
    return st.fixed_dictionaries({}, optional=fields).map(lambda given: GetMessageClass(descriptor)(**given))


def short(descriptor: d.Descriptor, value: Any) -> Any:
    """protobuf's JSON with the short names of enum values."""
    if not isinstance(value, dict):
        return value
    for field in descriptor.fields:
        item = value.get(field.name)
        if item is None or (field.message_type is not None and field.message_type.GetOptions().map_entry):
            continue
        each = item if field.is_repeated else [item]
        if field.enum_type is not None:
            each = [v.removeprefix(enum_prefix(field.enum_type)) for v in each]
        elif field.message_type is not None:
            each = [short(field.message_type, v) for v in each]
        value[field.name] = each if field.is_repeated else each[0]
    return value


@pytest.mark.parametrize("descriptor", MESSAGES, ids=lambda m: m.full_name)
def test_the_codec_agrees_with_protobufs_on_every_message(descriptor: d.Descriptor) -> None:
    @settings(max_examples=25, deadline=None, derandomize=True)
    @given(messages(descriptor))
    def agree(message: Message) -> None:
        theirs = json_format.MessageToDict(
            message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        ours = to_dict(message)
        assert ours == short(descriptor, json.loads(json.dumps(theirs)))
        back, from_camel = type(message)(), type(message)()
        fill(back, parse_body(to_json(message)))
        assert back == message
        fill(from_camel, parse_body(json_format.MessageToJson(message).encode()))
        assert from_camel == message

    agree()


def test_what_json_cannot_say_is_said_as_proto3_json_does() -> None:
    for value, text in ((float("nan"), "NaN"), (float("inf"), "Infinity"), (float("-inf"), "-Infinity")):
        assert to_dict(search_pb2.Timing(milliseconds=value))["milliseconds"] == text
    assert to_dict(job_pb2.Job(state=99))["state"] == 99  # type: ignore[arg-type]  # of a newer version


def test_a_field_of_a_reply_may_be_the_body() -> None:
    reply = keys_pb2.RevokeKeyResponse(key=keys_pb2.Key(key_id="k"))
    assert json.loads(to_json(reply, "key"))["key_id"] == "k"


def test_ten_hits_are_written_within_a_millisecond() -> None:
    hits = [
        search_pb2.Hit(
            chunk_id=f"c{n}", document_id="d", text="A sentence of some length, as passages have. " * 25, title="T",
            heading_path=["a", "b"], scores=search_pb2.Scores(dense=0.1, bm25=2.0, graph=0.0, fused=0.3), score=0.5,
        )
        for n in range(10)
    ]  # fmt: skip
    reply = public_search_pb2.SearchResponse(hits=hits)
    to_json(reply)
    fastest = 1.0
    for _ in range(50):
        started = time.process_time()
        to_json(reply)
        fastest = min(fastest, time.process_time() - started)
    assert fastest < 0.001
