"""Errors on REST: RFC 9457 problem+json with the reason, request id and trace id that gRPC sends as details."""

from __future__ import annotations

import json
import math
from http import HTTPStatus

from starlette.responses import Response

from ragmesh_servicekit.errors import Code, MeshError, Reason

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

_BY_REASON = {Reason.CONTENT_TOO_LARGE: 413, Reason.CONTENT_TYPE_MISMATCH: 415}


def status_of(error: MeshError) -> int:
    """The HTTP status of an error."""
    return _BY_REASON.get(error.reason, HTTP_STATUS[error.code])


def problem_dict(error: MeshError, request_id: str, trace_id: str, status: int | None = None) -> dict[str, object]:
    """The members of the problem document."""
    status = status or status_of(error)
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


def problem(error: MeshError, request_id: str, trace_id: str = "", status: int | None = None) -> Response:
    """The response of a failed request."""
    body = problem_dict(error, request_id, trace_id, status)
    headers = {"x-request-id": request_id}
    if error.retry_after_seconds is not None and error.retry_after_seconds >= 0:
        headers["retry-after"] = str(math.ceil(error.retry_after_seconds))
    if error.code is Code.UNAUTHENTICATED:
        headers["www-authenticate"] = 'Bearer realm="ragmesh"'
    return Response(
        json.dumps(body, ensure_ascii=False),
        status_code=status or status_of(error),
        media_type="application/problem+json",
        headers=headers,
    )
