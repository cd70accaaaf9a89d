"""Errors on REST: RFC 9457 problem+json with the reason, request id and trace id that gRPC sends as details."""

from __future__ import annotations

import json
import math
from http import HTTPStatus

from starlette.responses import Response

from ragmesh_servicekit.errors import Code, InvalidArgument, MeshError, NotFound, Reason

HTTP_STATUS = {
    Code.INVALID_ARGUMENT: 400,
    Code.UNAUTHENTICATED: 401,
    Code.PERMISSION_DENIED: 403,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.ABORTED: 409,
    Code.FAILED_PRECONDITION: 412,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.UNAVAILABLE: 503,
    Code.DEADLINE_EXCEEDED: 504,
    Code.INTERNAL: 500,
}
"""As google.rpc.code documents it, but 412 for FAILED_PRECONDITION, which is not the form of the request."""


class MethodNotAllowed(NotFound):
    """The path exists, but not for this verb: a notion that only HTTP has. `allowed`: the verbs that it takes."""

    def __init__(self, verb: str, allowed: tuple[str, ...]) -> None:
        super().__init__(f"this path does not take {verb[:32]}, only {', '.join(allowed)}")
        self.allowed = allowed


class UnsupportedMediaType(InvalidArgument):
    """The body is declared to be something that this path does not read."""

    default_reason = Reason.MALFORMED_REQUEST


_BY_CLASS: dict[type[MeshError], int] = {MethodNotAllowed: 405, UnsupportedMediaType: 415}
_BY_REASON = {Reason.CONTENT_TOO_LARGE: 413, Reason.CONTENT_TYPE_MISMATCH: 415}


def status_of(error: MeshError) -> int:
    """The HTTP status of an error."""
    return _BY_CLASS.get(type(error)) or _BY_REASON.get(error.reason, HTTP_STATUS[error.code])


def statuses() -> list[int]:
    """Every status that a failure may have."""
    return sorted({*HTTP_STATUS.values(), *_BY_CLASS.values(), *_BY_REASON.values()})


def problem_dict(error: MeshError, request_id: str, trace_id: str) -> dict[str, object]:
    """The members of the problem document."""
    status = status_of(error)
    body: dict[str, object] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": error.message,
        "code": str(error.code),
        "reason": str(error.reason),
        "request_id": request_id,
    }
    if trace_id:
        body["trace_id"] = trace_id
    if error.violations:
        body["violations"] = [{"field": v.field, "description": v.description} for v in error.violations]
    if error.metadata:
        body["metadata"] = error.metadata
    return body


def problem(error: MeshError, request_id: str, trace_id: str = "") -> Response:
    """The response of a failed request."""
    body = problem_dict(error, request_id, trace_id)
    headers = {"x-request-id": request_id, "cache-control": "no-store", "x-content-type-options": "nosniff"}
    if isinstance(error, MethodNotAllowed):
        headers["allow"] = ", ".join(error.allowed)
    if error.retry_after_seconds is not None and error.retry_after_seconds >= 0:
        headers["retry-after"] = str(math.ceil(error.retry_after_seconds))
    if error.code is Code.UNAUTHENTICATED:
        headers["www-authenticate"] = 'Bearer realm="ragmesh"'
    return Response(
        json.dumps(body, ensure_ascii=False),
        status_code=status_of(error),
        media_type="application/problem+json",
        headers=headers,
    )
