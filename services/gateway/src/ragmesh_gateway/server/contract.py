"""The public API as data, read from the descriptors once at start.

Everything that surfaces derive (REST routes, OpenAPI, scope checks, gRPC handlers, which call may be repeated) comes
from here; a new RPC in the contract needs no hand-written route.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from google.api import annotations_pb2, http_pb2
from google.protobuf import descriptor, message, message_factory

from ragmesh.common.v1 import options_pb2
from ragmesh.gateway.v1 import ask_pb2, collections_pb2, documents_pb2, jobs_pb2, keys_pb2, search_pb2

PUBLIC_FILES = (collections_pb2, documents_pb2, jobs_pb2, search_pb2, ask_pb2, keys_pb2)

VERBS = ("get", "post", "put", "patch", "delete")


@dataclass(frozen=True, slots=True)
class HttpBinding:
    """A google.api.http rule: `body` is "" (no body), "*" (the rest of the request) or a field; `response_body` is ""
    (the whole response) or the field that is the body."""

    verb: str
    path: str
    body: str
    response_body: str


@dataclass(frozen=True, slots=True)
class Method:
    """A public method with its rules. `path` is `/package.Service/Method`, as gRPC has it."""

    path: str
    service: str
    name: str
    descriptor: descriptor.MethodDescriptor
    request: type[message.Message]
    response: type[message.Message]
    client_streaming: bool
    server_streaming: bool
    scope: str
    idempotency: int
    accepted: bool
    http: tuple[HttpBinding, ...]


def public_methods() -> tuple[Method, ...]:
    """Every method of the public API, in the order of the contract."""
    return tuple(
        _method(service, method)
        for module in PUBLIC_FILES
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    )


def _method(service: descriptor.ServiceDescriptor, method: descriptor.MethodDescriptor) -> Method:
    rules = method.GetOptions().Extensions[options_pb2.method]
    if not rules.scope or rules.idempotency == options_pb2.IDEMPOTENCY_UNSPECIFIED:
        raise ValueError(f"{method.full_name} states no scope or no idempotency in the contract")
    return Method(
        path=f"/{service.full_name}/{method.name}",
        service=service.full_name,
        name=method.name,
        descriptor=method,
        request=message_factory.GetMessageClass(method.input_type),
        response=message_factory.GetMessageClass(method.output_type),
        client_streaming=method.client_streaming,
        server_streaming=method.server_streaming,
        scope=rules.scope,
        idempotency=rules.idempotency,
        accepted=rules.accepted,
        http=tuple(_bindings(method)),
    )


def _bindings(method: descriptor.MethodDescriptor) -> Iterator[HttpBinding]:
    options = method.GetOptions()
    if not options.HasExtension(annotations_pb2.http):
        return
    rule = options.Extensions[annotations_pb2.http]
    for binding in (rule, *rule.additional_bindings):
        yield _binding(binding)


def _binding(rule: http_pb2.HttpRule) -> HttpBinding:
    verb = rule.WhichOneof("pattern")
    if verb not in VERBS:
        raise ValueError(f"unsupported http pattern {verb}")
    return HttpBinding(verb.upper(), getattr(rule, verb), rule.body, rule.response_body)
