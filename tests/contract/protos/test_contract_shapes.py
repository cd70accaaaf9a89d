"""The contract holds together: what the gateway forwards has one shape on both sides, and rules are stated."""

from __future__ import annotations

from importlib import import_module
from importlib.resources import files
from typing import Any

import pytest
from google.protobuf import descriptor as d
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from ragmesh.common.v1 import document_pb2, errors_pb2, options_pb2
from ragmesh.generator.v1 import generator_pb2
from ragmesh.ingestor.v1 import ingestor_pb2
from ragmesh.retriever.v1 import retriever_pb2
from ragmesh_gateway.domain.scopes import ALL_SCOPES
from ragmesh_gateway.server.contract import PUBLIC_FILES, Method, public_methods
from ragmesh_gateway.server.forwarding import CREATE_DOCUMENT, FORWARDED_SERVICES, RENAMED
from ragmesh_servicekit.errors import Reason

METHODS = public_methods()
FORWARDED = [m for m in METHODS if m.service in FORWARDED_SERVICES and m.path != CREATE_DOCUMENT]
INGESTOR = ingestor_pb2.DESCRIPTOR.services_by_name["IngestorService"]
INNER = [INGESTOR, *(s for m in (retriever_pb2, generator_pb2) for s in m.DESCRIPTOR.services_by_name.values())]


def shape(message: d.Descriptor, seen: tuple[str, ...] = ()) -> Any:
    """Everything of a message that its bytes depend on, and its presence."""
    if message.full_name in seen:
        return message.full_name
    seen = (*seen, message.full_name)
    return {
        f.number: (
            f.name, f.type, f.is_repeated, f.has_presence, f.containing_oneof.name if f.containing_oneof else "",
            shape(f.message_type, seen) if f.message_type else None, f.enum_type.full_name if f.enum_type else None,
        )
        for f in message.fields
    }  # fmt: skip


@pytest.mark.parametrize("method", FORWARDED, ids=lambda m: m.name)
def test_a_forwarded_method_has_the_same_shape_on_both_sides(method: Method) -> None:
    inner = INGESTOR.methods_by_name[RENAMED.get(method.name, method.name)]
    outer = method.descriptor
    assert shape(outer.input_type) == shape(inner.input_type)
    assert shape(outer.output_type) == shape(inner.output_type)
    assert (outer.client_streaming, outer.server_streaming) == (inner.client_streaming, inner.server_streaming)
    theirs, ours = (m.GetOptions().Extensions[options_pb2.method] for m in (inner, outer))
    assert theirs == ours


def test_every_method_of_the_ingestor_is_reached() -> None:
    assert {RENAMED.get(m.name, m.name) for m in FORWARDED} == {m.name for m in INGESTOR.methods}


def test_a_document_alone_has_the_fields_of_one_in_a_batch() -> None:
    alone = next(m for m in METHODS if m.path == CREATE_DOCUMENT).descriptor.input_type.fields_by_name
    batch = next(m for m in METHODS if m.name == "BatchCreateDocuments").descriptor.input_type.fields_by_name
    single = document_pb2.DocumentInput.DESCRIPTOR.fields_by_name
    assert set(alone) == set(single) | set(batch) - {"documents"}
    for name, field in alone.items():
        other = single[name] if name in single else batch[name]
        assert field.type == other.type
        assert field.GetOptions().Extensions[options_pb2.field] == other.GetOptions().Extensions[options_pb2.field]


@pytest.mark.parametrize(
    "method", [m for s in INNER for m in s.methods] + [m.descriptor for m in METHODS], ids=lambda m: m.full_name
)
def test_every_method_states_scope_and_idempotency(method: d.MethodDescriptor) -> None:
    rules = method.GetOptions().Extensions[options_pb2.method]
    assert rules.scope in ALL_SCOPES
    assert rules.idempotency in {
        options_pb2.IDEMPOTENCY_READ, options_pb2.IDEMPOTENCY_REPEATABLE, options_pb2.IDEMPOTENCY_ONCE,
    }  # fmt: skip


def test_every_scope_is_required_by_a_method_or_checked_by_name() -> None:
    assert {m.scope for m in METHODS} | {"tenants:admin"} == ALL_SCOPES


def test_reading_is_what_get_does() -> None:
    for method in METHODS:
        for binding in method.http:
            if binding.verb == "GET":
                assert method.idempotency == options_pb2.IDEMPOTENCY_READ, method.path


def test_every_streamed_reply_is_an_event() -> None:
    for method in METHODS:
        if method.server_streaming:
            assert "event" in method.response.DESCRIPTOR.oneofs_by_name, method.path


def test_reasons_are_the_same_in_contract_and_code() -> None:
    names = {v.name.removeprefix("ERROR_REASON_") for v in errors_pb2.ErrorReason.DESCRIPTOR.values if v.number}
    assert names == set(Reason.__members__)
    assert all(name == str(Reason[name]) for name in names)


def test_the_committed_descriptors_are_those_of_the_generated_modules() -> None:
    committed = FileDescriptorSet.FromString(files("ragmesh").joinpath("descriptors.binpb").read_bytes())
    ours = [file for file in committed.file if file.package.startswith("ragmesh.")]
    assert {f"{m.DESCRIPTOR.name}" for m in PUBLIC_FILES} <= {file.name for file in ours}
    for file in ours:
        module = import_module(file.name.removesuffix(".proto").replace("/", ".") + "_pb2")
        generated = FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(generated)
        file.ClearField("source_code_info")
        for proto in (file, generated):
            _drop_json_names(proto)
        assert generated == file, file.name


def _drop_json_names(file: FileDescriptorProto) -> None:
    """protoc writes them into descriptor sets; modules have them by rule."""
    messages = [*file.message_type]
    for message in messages:
        messages += message.nested_type
        for field in message.field:
            field.ClearField("json_name")
    for extension in file.extension:
        extension.ClearField("json_name")


def test_every_element_of_the_committed_descriptors_has_a_comment() -> None:
    committed = FileDescriptorSet.FromString(files("ragmesh").joinpath("descriptors.binpb").read_bytes())
    for file in committed.file:
        if not file.package.startswith("ragmesh."):
            continue
        with_comment = {tuple(loc.path) for loc in file.source_code_info.location if loc.leading_comments.strip()}
        for m, message in enumerate(file.message_type):
            assert (4, m) in with_comment, message.name
            for f, field in enumerate(message.field):
                assert (4, m, 2, f) in with_comment, f"{message.name}.{field.name}"
