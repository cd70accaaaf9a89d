"""The OpenAPI 3.1 document of the REST surface, derived from the contract: paths from google.api.http, schemas from the
messages, limits from the field rules, prose from the comments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any

from google.protobuf import descriptor as d
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from ragmesh.common.v1 import options_pb2
from ragmesh_gateway.rest.encoding import enum_prefix
from ragmesh_gateway.rest.paths import PathTemplate
from ragmesh_gateway.rest.problem import statuses
from ragmesh_gateway.server.contract import HttpBinding, Method

F = d.FieldDescriptor
Json = dict[str, Any]
_SCALARS: dict[int, Json] = {
    F.CPPTYPE_INT32: {"type": "integer", "format": "int32"},
    F.CPPTYPE_UINT32: {"type": "integer", "format": "uint32"},
    F.CPPTYPE_INT64: {"type": "string", "format": "int64"},
    F.CPPTYPE_UINT64: {"type": "string", "format": "uint64"},
    F.CPPTYPE_DOUBLE: {"type": "number", "format": "double"},
    F.CPPTYPE_FLOAT: {"type": "number", "format": "float"},
    F.CPPTYPE_BOOL: {"type": "boolean"},
    F.CPPTYPE_STRING: {"type": "string"},
}


class Comments:
    """The comments of the contract by full name, from the descriptor set that is committed beside the stubs."""

    def __init__(self) -> None:
        raw = files("ragmesh").joinpath("descriptors.binpb").read_bytes()
        self._texts = {
            name: text
            for file in FileDescriptorSet.FromString(raw).file
            if file.package.startswith("ragmesh.")
            for name, text in _comments(file)
        }

    def __getitem__(self, full_name: str) -> str:
        return self._texts.get(full_name, "")


def _comments(file: FileDescriptorProto) -> Iterator[tuple[str, str]]:
    for location in file.source_code_info.location:
        if not location.leading_comments:
            continue
        node: Any = file
        names = [file.package]
        path = list(location.path)
        for number, index in zip(path[::2], path[1::2], strict=False):
            field = node.DESCRIPTOR.fields_by_number[number]
            if not field.is_repeated or field.message_type is None:
                break
            node = getattr(node, field.name)[index]
            names.append(getattr(node, "name", ""))
        text = " ".join(line.strip() for line in location.leading_comments.strip().splitlines())
        if len(path) % 2 == 0:
            yield ".".join(names), text


class OpenApi:
    """Builds the document once."""

    def __init__(self, methods: tuple[Method, ...], extra_paths: Mapping[str, Json]) -> None:
        self._methods = methods
        self._comments = Comments()
        self._schemas: Json = {}
        self._extra_paths = extra_paths

    def document(self, version: str) -> Json:
        """The whole document."""
        paths: Json = {}
        for method in self._methods:
            for binding in method.http:
                template = PathTemplate(binding.path)
                operation = self._operation(method, binding, template)
                paths.setdefault(template.openapi(), {})[binding.verb.lower()] = operation
        for path, item in self._extra_paths.items():
            paths.setdefault(path, {}).update(item)
        self._schemas["Problem"] = _PROBLEM
        return {
            "openapi": "3.1.0",
            "info": {
                "title": "ragmesh",
                "version": version,
                "description": "Answers questions from an organisation's own documents.",
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "servers": [{"url": "/"}],
            "security": [{"key": []}],
            "paths": paths,
            "components": {
                "schemas": dict(sorted(self._schemas.items())),
                "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "bearerFormat": "rag_live_…"}},
            },
        }

    def _operation(self, method: Method, binding: HttpBinding, template: PathTemplate) -> Json:
        input_type = method.descriptor.input_type
        text = self._comments[method.descriptor.full_name]
        summary, _, _ = text.partition(". ")
        operation: Json = {
            "operationId": method.name[0].lower() + method.name[1:],
            "tags": [method.service.rsplit(".", 1)[-1].removesuffix("Service")],
            "summary": summary,
            "description": f"{text} Scope: `{method.scope}`.",
            "parameters": [
                {
                    "name": name,
                    "in": "path",
                    "required": True,
                    "description": self._comments[input_type.fields_by_name[name].full_name],
                    "schema": self._field(input_type.fields_by_name[name]),
                }
                for name in template.variables
            ],
            "responses": self._responses(method, binding),
        }
        rest = [f for f in input_type.fields if f.name not in template.variables]
        if binding.body == "*":
            operation["requestBody"] = {
                "required": bool(rest),
                "content": {"application/json": {"schema": self._object(input_type, rest)}},
            }
        else:
            operation["parameters"] += [
                {
                    "name": field.name,
                    "in": "query",
                    "description": self._comments[field.full_name],
                    "schema": self._field(field),
                }
                for field in rest
            ]
        return operation

    def _responses(self, method: Method, binding: HttpBinding) -> Json:
        output = method.descriptor.output_type
        if binding.response_body:
            body = self._field(output.fields_by_name[binding.response_body])
        else:
            body = self._message(output)
        kinds = ("text/event-stream", "application/x-ndjson") if method.server_streaming else ("application/json",)
        answers: Json = {
            "202" if method.accepted else "200": {
                "description": self._comments[output.full_name],
                "content": {kind: {"schema": body} for kind in kinds},
            }
        }
        problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
        for status in statuses():
            answers[str(status)] = {"description": "The request failed; `reason` says why.", "content": problem}
        return answers

    def _message(self, descriptor: d.Descriptor) -> Json:
        if descriptor.full_name == "google.protobuf.Timestamp":
            return {"type": "string", "format": "date-time"}
        if descriptor.name not in self._schemas:
            self._schemas[descriptor.name] = {}  # holds the place of a type that refers to itself
            self._schemas[descriptor.name] = self._object(descriptor, descriptor.fields)
        return {"$ref": f"#/components/schemas/{descriptor.name}"}

    def _object(self, descriptor: d.Descriptor, fields: Sequence[d.FieldDescriptor]) -> Json:
        result: Json = {
            "type": "object",
            "description": self._comments[descriptor.full_name],
            "properties": {f.name: {**self._field(f), "description": self._comments[f.full_name]} for f in fields},
            "additionalProperties": False,
        }
        required = [f.name for f in fields if f.GetOptions().Extensions[options_pb2.field].required]
        return {**result, "required": required} if required else result

    def _field(self, field: d.FieldDescriptor) -> Json:
        rules = field.GetOptions().Extensions[options_pb2.field]
        if field.is_repeated:
            limit = {"maxItems": rules.max_items} if rules.max_items else {}
            entry = field.message_type
            if entry is not None and entry.GetOptions().map_entry:
                value = self._single(entry.fields_by_name["value"])
                if rules.max_length:
                    value["maxLength"] = rules.max_length
                limit = {"maxProperties": rules.max_items} if rules.max_items else {}
                return {"type": "object", "additionalProperties": value, **limit}
            return {"type": "array", "items": {**self._single(field), **_string_rules(field, rules)}, **limit}
        return {**self._single(field), **_string_rules(field, rules), **_number_rules(rules)}

    def _single(self, field: d.FieldDescriptor) -> Json:
        if field.message_type is not None:
            return self._message(field.message_type)
        if field.enum_type is not None:
            prefix = enum_prefix(field.enum_type)
            return {"type": "string", "enum": [v.name.removeprefix(prefix) for v in field.enum_type.values]}
        if field.type == F.TYPE_BYTES:
            return {"type": "string", "contentEncoding": "base64"}
        return dict(_SCALARS[field.cpp_type])


def _string_rules(field: d.FieldDescriptor, rules: options_pb2.FieldRules) -> Json:
    if field.type != F.TYPE_STRING:
        return {}
    result: Json = {}
    if rules.min_length:
        result["minLength"] = rules.min_length
    if rules.max_length:
        result["maxLength"] = rules.max_length
    if rules.pattern:
        result["pattern"] = f"^(?:{rules.pattern})$"
    return result


def _number_rules(rules: options_pb2.FieldRules) -> Json:
    """0 stands for the default of every field that has a least value, so 0 is the least that may be sent."""
    return {"minimum": 0, "maximum": rules.maximum} if rules.maximum else {}


_PROBLEM: Json = {
    "type": "object",
    "description": "RFC 9457 problem details.",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "One sentence that names the field or dependency and the limit."},
        "code": {"type": "string", "description": "The gRPC status code."},
        "reason": {"type": "string", "description": "A constant; see ErrorReason in the contract."},
        "request_id": {"type": "string"},
        "trace_id": {"type": "string"},
        "violations": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"field": {"type": "string"}, "description": {"type": "string"}},
            },
        },
        "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
    },
    "required": ["type", "title", "status", "detail", "code", "reason", "request_id"],
}
