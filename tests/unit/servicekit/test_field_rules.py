"""The rules of the contract, on its own messages."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from google.protobuf import descriptor as d
from google.protobuf.message import Message

from ragmesh.common.v1 import document_pb2, options_pb2, search_pb2
from ragmesh.gateway.v1 import ask_pb2, collections_pb2, documents_pb2, jobs_pb2, keys_pb2
from ragmesh.gateway.v1 import search_pb2 as gateway_search_pb2
from ragmesh_servicekit.errors import FieldViolation, InvalidArgument, Reason
from ragmesh_servicekit.validation import MAX_VIOLATIONS, refuse_unknown_fields, validate

Search = gateway_search_pb2.SearchRequest
FILES = (ask_pb2, collections_pb2, documents_pb2, jobs_pb2, keys_pb2, gateway_search_pb2)


def violations(message: Message) -> list[FieldViolation]:
    try:
        validate(message)
    except InvalidArgument as error:
        return list(error.violations)
    return []


def good(**changes: object) -> Search:
    search = Search(collection_id="docs", query="What makes the tides?")
    for name, value in changes.items():
        setattr(search, name, value)
    return search


def test_a_right_request_has_no_violation() -> None:
    assert violations(good()) == []
    assert violations(good(top_k=100, mode=search_pb2.SEARCH_MODE_GRAPH, query="tab\tand\r\nlines ✓")) == []


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("query", "", "must not be empty"),
        ("query", " \t\n", "must not be only white space"),
        ("query", "x" * 4001, "must have at most 4,000 characters, not 4,001"),
        ("query", "a\x00b", "has a control character (U+0000) at position 1"),
        ("query", "\x85next line", "has a control character (U+0085) at position 0"),
        ("query", "delete\x7f", "has a control character (U+007F) at position 6"),
        ("collection_id", "", "must not be empty"),
        ("collection_id", "../etc", "must match [A-Za-z0-9][A-Za-z0-9_.-]*"),
        ("collection_id", "docs\n", "must match [A-Za-z0-9][A-Za-z0-9_.-]*"),
        ("collection_id", "x" * 65, "must have at most 64 characters, not 65"),
        ("top_k", 101, "must be from 1 to 100, not 101"),
        ("top_k", -1, "must be from 1 to 100, not -1"),
        ("mode", 99, "must be one of "),
    ],
)
def test_a_wrong_field_is_named_with_its_limit(field: str, value: object, sentence: str) -> None:
    (violation,) = violations(good(**{field: value}))
    assert violation.field == field
    assert violation.description.startswith(sentence)


def test_length_is_counted_in_characters_and_not_in_bytes() -> None:
    assert violations(good(query="я" * 4000)) == []
    assert violations(good(query="😀" * 4000)) == []


def test_a_number_without_a_greatest_is_not_negative() -> None:
    (violation,) = violations(documents_pb2.GetDocumentContentRequest(collection_id="docs", document_id="a", offset=-1))
    assert violation == FieldViolation("offset", "must be at least 0, not -1")


def test_entries_are_counted_and_named_by_their_place() -> None:
    search = good()
    search.filter.document_ids.extend(["a", "", "x" * 513])
    assert [(v.field, v.description) for v in violations(search)] == [
        ("filter.document_ids[1]", "must not be empty"),
        ("filter.document_ids[2]", "must have at most 512 characters, not 513"),
    ]
    search.filter.document_ids.extend(["a"] * 100)
    assert violations(search) == [FieldViolation("filter.document_ids", "must have at most 100 entries, not 103")]


def test_messages_in_lists_and_maps_are_checked() -> None:
    batch = documents_pb2.BatchCreateDocumentsRequest(collection_id="docs")
    assert violations(batch) == [FieldViolation("documents", "is required")]
    batch.documents.add(text="fine", metadata={"author": "anna"})
    assert violations(batch) == []
    batch.documents.add(metadata={"k" * 65: "v", "note": "x" * 1001})
    fields = {v.field: v.description for v in violations(batch)}
    assert fields["documents[1].text"] == "must not be empty"
    assert fields["documents[1].metadata['note']"] == "must have at most 1,000 characters, not 1,001"
    assert "a key must have 1 to 64 characters" in fields.values()


def test_at_most_ten_violations_are_told() -> None:
    batch = documents_pb2.BatchCreateDocumentsRequest(collection_id="docs")
    for _ in range(50):
        batch.documents.add()
    assert len(violations(batch)) == MAX_VIOLATIONS


def test_an_optional_field_is_checked_when_it_is_there() -> None:
    update = collections_pb2.UpdateCollectionRequest(collection_id="docs")
    assert violations(update) == []
    update.display_name = "x" * 201
    assert [v.field for v in violations(update)] == ["display_name"]


@pytest.mark.parametrize("nested", [False, True])
def test_a_field_that_the_contract_does_not_have_is_refused(nested: bool) -> None:
    stranger = b"\xfa\x01\x01x"  # field 31, a string of one character
    inner = document_pb2.DocumentInput(text="t").SerializeToString() + stranger
    batch = documents_pb2.BatchCreateDocumentsRequest.FromString(
        b"\x12" + bytes([len(inner)]) + inner if nested else stranger
    )
    with pytest.raises(InvalidArgument, match="field 31: is not a field of this request") as caught:
        refuse_unknown_fields(batch)
    assert caught.value.reason is Reason.UNKNOWN_FIELD
    refuse_unknown_fields(good())


def fields_with_rules() -> Iterator[tuple[d.FieldDescriptor, options_pb2.FieldRules]]:
    seen: set[str] = set()
    open_messages = [m for file in FILES for m in file.DESCRIPTOR.message_types_by_name.values()]
    while open_messages:
        message = open_messages.pop()
        if message.full_name in seen:
            continue
        seen.add(message.full_name)
        for field in message.fields:
            if field.message_type is not None:
                open_messages.append(field.message_type)
            if field.GetOptions().HasExtension(options_pb2.field):
                yield field, field.GetOptions().Extensions[options_pb2.field]


def test_the_contract_has_no_rule_that_is_not_enforced() -> None:
    number = {d.FieldDescriptor.CPPTYPE_INT32, d.FieldDescriptor.CPPTYPE_INT64}
    for field, rules in fields_with_rules():
        string = field.type == d.FieldDescriptor.TYPE_STRING
        many = field.is_repeated
        is_map = many and field.message_type is not None
        allowed = {
            "required": string or many or field.message_type is not None,
            "min_length": string,
            "max_length": string or is_map,
            "pattern": string,
            "minimum": field.cpp_type in number,
            "maximum": field.cpp_type in number,
            "max_items": many,
            "text": string,
            "known_enum": field.enum_type is not None and not many,
        }
        for rule, _ in rules.ListFields():
            assert allowed[rule.name], f"{field.full_name} has {rule.name}, which is not checked on such a field"


def test_a_text_of_a_million_characters_does_not_hold_the_loop() -> None:
    text = "tide " * 200_000
    started = time.perf_counter()
    assert violations(keys_pb2.CreateKeyRequest(display_name=text))
    assert violations(documents_pb2.CreateDocumentRequest(collection_id="docs", text=text)) == []
    assert time.perf_counter() - started < 0.1
