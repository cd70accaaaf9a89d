"""Which method a path is for."""

from __future__ import annotations

import re
from urllib.parse import quote

import pytest

from ragmesh_gateway.rest.paths import PathTemplate
from ragmesh_gateway.rest.routes import Match, Routes
from ragmesh_gateway.rest.upload import METHOD, TEMPLATE
from ragmesh_gateway.server.contract import HttpBinding, Method, public_methods
from ragmesh_servicekit.errors import InvalidArgument

METHODS = public_methods()
ROUTES = Routes(METHODS)
BINDINGS = [(m, b) for m in METHODS for b in m.http]
ODD = ("plain", "a/b", "x:content", "100%", "é ü", "..", "a?b#c", "documents", "chunks")


@pytest.mark.parametrize(("method", "binding"), BINDINGS, ids=lambda v: getattr(v, "path", None))
def test_every_rule_of_the_contract_is_reachable_with_any_id(method: Method, binding: HttpBinding) -> None:
    for value in ODD:
        path = re.sub(r"\{[^}]*\}", lambda _, v=value: quote(v, safe=""), binding.path)  # type: ignore[misc]  # default
        found = ROUTES.match(binding.verb, path)
        assert isinstance(found, Match), path
        assert found.method.path == method.path
        assert set(found.variables.values()) <= {value}


def test_every_method_has_a_route_or_is_the_upload() -> None:
    assert [m.path for m in METHODS if not m.http] == [METHOD]
    assert TEMPLATE.match("/v1/collections/c/documents:upload") == {"collection_id": "c"}


def test_the_literal_comes_before_the_variable() -> None:
    for verb, path, name in (
        ("GET", "/v1/jobs:watch", "WatchJobs"),
        ("GET", "/v1/jobs/watch", "GetJob"),
        ("GET", "/v1/collections/c/documents", "ListDocuments"),
        ("GET", "/v1/collections/c/documents/documents", "GetDocument"),
        ("GET", "/v1/collections/c/documents/a/b:chunks", "ListChunks"),
        ("GET", "/v1/collections/c/documents/a/b:content", "GetDocumentContent"),
        ("POST", "/v1/collections/c/documents:batchCreate", "BatchCreateDocuments"),
        ("POST", "/v1/collections/c:search", "Search"),
        ("HEAD", "/v1/collections/c", "GetCollection"),
    ):
        found = ROUTES.match(verb, path)
        assert isinstance(found, Match), path
        assert found.method.name == name


def test_a_path_that_is_none_matches_nothing() -> None:
    for path in ("", "/", "/v1", "/v1/", "/v1/collections/", "/v1/collections/a/b", "/v1/jobs/a:b:cancel", "//v1/jobs"):
        assert ROUTES.match("GET", path) == (), path


def test_variables_are_decoded_once() -> None:
    template = PathTemplate("/d/{id=**}:content")
    assert template.match("/d/a%252Fb/c%3A:content") == {"id": "a%2Fb/c:"}
    assert template.match("/d/:content") is None
    for wrong in ("%zz", "a%", "%f", "%ff%fe", "%ed%a0%80"):
        with pytest.raises(InvalidArgument, match=r"^id: "):
            template.match(f"/d/{wrong}:content")
