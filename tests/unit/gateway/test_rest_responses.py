"""Problems, pages, stream frames: what REST sends besides replies."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ragmesh.common.v1 import answer_pb2
from ragmesh.gateway.v1 import ask_pb2
from ragmesh_gateway.rest.pages import pages
from ragmesh_gateway.rest.problem import HTTP_STATUS, MethodNotAllowed, UnsupportedMediaType, problem, statuses
from ragmesh_gateway.rest.streams import media_type, ndjson_frame, sse_frame
from ragmesh_gateway.server.endpoints import Call
from ragmesh_servicekit.errors import (
    Code,
    InvalidArgument,
    MeshError,
    NotFound,
    Reason,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)


def test_every_code_has_a_status() -> None:
    assert set(HTTP_STATUS) == set(Code)
    assert {405, 413, 415} <= set(statuses())


@pytest.mark.parametrize(
    ("error", "status", "headers"),
    [
        (NotFound("x", reason=Reason.JOB_NOT_FOUND), 404, {}),
        (Unauthenticated("x"), 401, {"www-authenticate": 'Bearer realm="ragmesh"'}),
        (ResourceExhausted("x", retry_after_seconds=1.2), 429, {"retry-after": "2"}),
        (InvalidArgument("x", reason=Reason.CONTENT_TOO_LARGE), 413, {}),
        (InvalidArgument("x", reason=Reason.CONTENT_TYPE_MISMATCH), 415, {}),
        (MethodNotAllowed("PUT", ("GET", "HEAD")), 405, {"allow": "GET, HEAD"}),
        (UnsupportedMediaType("x"), 415, {}),
    ],
)
def test_a_problem_has_its_status_and_headers(error: MeshError, status: int, headers: dict[str, str]) -> None:
    reply = problem(error, "r-1", "t" * 32)
    body = json.loads(bytes(reply.body))
    assert reply.status_code == body["status"] == status
    assert (body["code"], body["reason"], body["detail"]) == (error.code, error.reason, error.message)
    assert (body["request_id"], body["trace_id"]) == ("r-1", "t" * 32)
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.headers["x-request-id"] == "r-1"
    assert headers.items() <= dict(reply.headers).items()


def test_a_push_back_is_not_a_time_to_wait() -> None:
    assert "retry-after" not in problem(Unavailable("x", retry_after_seconds=-1), "r").headers


def test_a_problem_names_fields_and_dependencies() -> None:
    body = json.loads(bytes(problem(InvalidArgument.field("a.b", "must be set"), "r").body))
    assert body["violations"] == [{"field": "a.b", "description": "must be set"}]
    body = json.loads(bytes(problem(Unavailable.dependency("vectors"), "r").body))
    assert body["metadata"] == {"dependency": "vectors"}
    assert "trace_id" not in body


async def test_the_reference_runs_its_own_script_and_nothing_else() -> None:
    health = SimpleNamespace(ready=False)
    served = pages(cast(Any, SimpleNamespace(health=health)))
    reply = await served["/docs"]()
    html, policy = bytes(reply.body).decode(), reply.headers["content-security-policy"]
    for kind in ("script", "style"):
        (text,) = re.findall(f"<{kind}>(.*?)</{kind}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"<[^>]*\s(on\w+|style)=", html.split("<script>")[0])
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert (await served["/livez"]()).status_code == 200
    assert (await served["/readyz"]()).status_code == 503
    health.ready = True
    assert (await served["/readyz"]()).status_code == 200


def test_frames_are_one_event_each() -> None:
    reply = ask_pb2.AskStreamResponse(stream_id="s", sequence=3, token=answer_pb2.Token(text="a\n\nb\u2028c"))
    frame = sse_frame(reply).decode()
    assert frame.startswith("event: token\nid: 3\ndata: {")
    assert frame.endswith("\n\n")
    assert frame.count("\n") == 4
    assert json.loads(ndjson_frame(reply))["token"]["text"] == "a\n\nb\u2028c"
    assert ndjson_frame(reply).count(b"\n") == 1


def test_ndjson_is_for_those_who_ask_for_it_alone() -> None:
    for accept, kind in (
        ("", "text/event-stream"), ("*/*", "text/event-stream"), ("application/x-ndjson", "application/x-ndjson"),
        ("application/x-ndjson, text/event-stream", "text/event-stream"),
    ):  # fmt: skip
        assert media_type(accept) == kind


def test_a_request_id_is_visible_ascii_or_ours() -> None:
    assert Call.of("", "a-1").request_id == "a-1"
    for bad in ("", "a b", "a\r\nx: y", "é", "x" * 129, "a\n"):
        assert re.fullmatch("[0-9a-f]{16}", Call.of("", bad).request_id)
