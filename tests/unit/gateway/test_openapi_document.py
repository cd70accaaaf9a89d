"""The OpenAPI document: well formed, and the same as the routes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from ragmesh_gateway.rest import upload
from ragmesh_gateway.rest.openapi import OpenApi
from ragmesh_gateway.rest.paths import PathTemplate
from ragmesh_gateway.rest.problem import statuses
from ragmesh_gateway.server.contract import public_methods

METHODS = public_methods()
DOCUMENT = OpenApi(METHODS, upload.OPENAPI).document("1.2.3")
VERBS = {"get", "post", "patch", "delete", "put"}


def walk(node: Any) -> Iterator[Any]:
    yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from walk(child)


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    return [(path, verb, op) for path, item in DOCUMENT["paths"].items() for verb, op in item.items()]


def test_it_is_json_of_openapi_3_1() -> None:
    assert json.loads(json.dumps(DOCUMENT)) == DOCUMENT
    assert DOCUMENT["openapi"] == "3.1.0"
    assert set(DOCUMENT) == {"openapi", "info", "servers", "security", "paths", "components"}
    assert DOCUMENT["info"]["version"] == "1.2.3"


def test_every_reference_resolves_and_every_schema_is_used() -> None:
    refs = {node["$ref"] for node in walk(DOCUMENT) if isinstance(node, dict) and "$ref" in node}
    assert refs == {f"#/components/schemas/{name}" for name in DOCUMENT["components"]["schemas"]}


def test_its_operations_are_the_routes() -> None:
    routes = {(PathTemplate(b.path).openapi(), b.verb.lower()) for m in METHODS for b in m.http}
    routes.add((upload.TEMPLATE.openapi(), "post"))
    assert {(path, verb) for path, verb, _ in operations()} == routes
    ids = [op["operationId"] for _, _, op in operations()]
    assert len(ids) == len(set(ids)) == len(METHODS)


def test_no_two_types_share_a_schema() -> None:
    seen: dict[str, str] = {}
    queue = [t for m in METHODS for t in (m.descriptor.input_type, m.descriptor.output_type)]
    while queue:
        kind = queue.pop()
        if kind.name in seen:
            assert seen[kind.name] == kind.full_name
            continue
        seen[kind.name] = kind.full_name
        queue += [f.message_type for f in kind.fields if f.message_type and not f.message_type.GetOptions().map_entry]


def test_each_operation_is_complete() -> None:
    for path, verb, op in operations():
        where = f"{verb} {path}"
        assert verb in VERBS
        assert op["summary"], where
        assert "Scope: `" in op["description"], where
        names = [p["name"] for p in op["parameters"]]
        assert len(names) == len(set(names)), where
        in_path = [p["name"] for p in op["parameters"] if p["in"] == "path"]
        assert in_path == re.findall(r"\{(\w+)\}", path), where
        for parameter in op["parameters"]:
            assert parameter["in"] in {"path", "query"}
            assert parameter.get("required", False) is (parameter["in"] == "path")
            assert "schema" in parameter
        if verb in {"get", "delete"}:
            assert "requestBody" not in op, where
        good = [status for status in op["responses"] if status.startswith("2")]
        assert len(good) == 1, where
        for response in op["responses"].values():
            assert response["description"], where
            assert response["content"], where
        if op["operationId"] != "uploadDocument":
            assert {int(s) for s in op["responses"]} - {int(good[0])} == set(statuses()), where


def test_schemas_say_what_the_contract_says() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    assert schemas["Job"]["properties"]["state"]["enum"][1:3] == ["ACCEPTED", "RUNNING"]
    assert schemas["Document"]["properties"]["size_bytes"]["type"] == "string"
    assert schemas["Document"]["properties"]["create_time"]["format"] == "date-time"
    body = DOCUMENT["paths"]["/v1/collections/{collection_id}:search"]["post"]["requestBody"]
    search = body["content"]["application/json"]["schema"]
    assert "collection_id" not in search["properties"]
    assert search["required"] == ["query"]
    assert (search["properties"]["top_k"]["maximum"], search["properties"]["query"]["maxLength"]) == (100, 4000)
    stream = DOCUMENT["paths"]["/v1/collections/{collection_id}:askStream"]["post"]["responses"]["200"]["content"]
    assert set(stream) == {"text/event-stream", "application/x-ndjson"}
    batch = DOCUMENT["paths"]["/v1/collections/{collection_id}/documents:batchCreate"]["post"]
    assert set(batch["responses"]) >= {"202", "413", "415"}
    for node in walk(DOCUMENT):
        if isinstance(node, dict) and isinstance(node.get("pattern"), str):
            re.compile(node["pattern"])
