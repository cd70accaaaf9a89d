"""REST: requests to messages, the endpoint, messages to JSON. Routes come from the contract."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from google.protobuf.message import Message
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ragmesh_gateway.rest import upload
from ragmesh_gateway.rest.connection import while_connected
from ragmesh_gateway.rest.decoding import fill, parse_body, shown
from ragmesh_gateway.rest.encoding import to_json
from ragmesh_gateway.rest.observed import CLIENT_CLOSED_REQUEST, Observed
from ragmesh_gateway.rest.openapi import OpenApi
from ragmesh_gateway.rest.problem import MethodNotAllowed, UnsupportedMediaType, problem
from ragmesh_gateway.rest.query import from_query, parse_query
from ragmesh_gateway.rest.routes import Match, Routes
from ragmesh_gateway.rest.streams import StreamResponse, media_type
from ragmesh_gateway.server.endpoints import Call, Endpoints
from ragmesh_servicekit.errors import InvalidArgument, MeshError, NotFound, Reason
from ragmesh_servicekit.status import to_mesh_error

MAX_BODY_BYTES = 16 * 1024 * 1024
READING = ("GET", "HEAD")

Page = Callable[[], Awaitable[Response]]


class RestApi:
    """The ASGI application. `pages` are plain GET paths beside the contract: health and documentation."""

    def __init__(self, endpoints: Endpoints, pages: dict[str, Page], version: str) -> None:
        self._endpoints = endpoints
        self._routes = Routes(endpoints.methods)
        self._upload = next(m for m in endpoints.methods if m.path == upload.METHOD)
        document = OpenApi(endpoints.methods, upload.OPENAPI).document(version)
        self._openapi = json.dumps(document, ensure_ascii=False).encode()
        self._pages = {"/openapi.json": self._openapi_page, **pages}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        page = self._pages.get(scope["path"]) if request.method in READING else None
        if page is not None:
            await (await page())(scope, receive, send)
            return
        call = Call.of(request.headers.get("authorization", ""), request.headers.get("x-request-id", ""))
        observed = Observed(request.method, request.headers, call.request_id)
        with observed:
            response = await self._respond(request, call, observed)
            await response(scope, receive, send)

    async def _openapi_page(self) -> Response:
        return Response(self._openapi, media_type="application/json", headers={"x-content-type-options": "nosniff"})

    async def _respond(self, request: Request, call: Call, observed: Observed) -> ASGIApp:
        try:
            return await self._dispatch(request, call, observed)
        except ClientDisconnect:
            observed.finish(CLIENT_CLOSED_REQUEST)
            return Response(status_code=CLIENT_CLOSED_REQUEST)
        except Exception as error:
            failure = to_mesh_error(error)
            answer = problem(failure, call.request_id, observed.trace_id)
            observed.finish(answer.status_code, failure)
            return answer

    async def _dispatch(self, request: Request, call: Call, observed: Observed) -> ASGIApp:
        raw_path = request.scope.get("raw_path", request.scope["path"].encode()).decode("ascii", "replace")
        uploaded = upload.TEMPLATE.match(raw_path)
        if uploaded is not None and request.method == "POST":
            observed.method(self._upload.path)
            return await self._receive_upload(request, dict(uploaded), call, observed)
        found = self._routes.match(request.method, raw_path)
        if isinstance(found, tuple):
            allowed = found or self._allowed_beside(request.scope["path"], uploaded is not None)
            if allowed:
                raise MethodNotAllowed(request.method, allowed)
            raise NotFound("no such route; /openapi.json lists them", reason=Reason.ROUTE_NOT_FOUND)
        observed.method(found.method.path)
        admission = await self._endpoints.admit(found.method, call)
        message = await self._message(request, found)
        if found.method.server_streaming:
            kind = media_type(request.headers.get("accept", ""))
            replies = admission.stream(message)
            stream = StreamResponse(replies, kind, call.request_id, to_mesh_error, observed.finish_stream)
            await stream.begin(request.receive)
            return stream
        reply = await while_connected(request.receive, admission.unary(message))
        status = 202 if found.method.accepted else 200
        observed.finish(status)
        return _json(to_json(reply, found.binding.response_body), status, call.request_id)

    def _allowed_beside(self, path: str, uploaded: bool) -> tuple[str, ...]:
        """The verbs of a path that is not one of the contract's."""
        if path in self._pages:
            return READING
        return ("POST",) if uploaded else ()

    async def _message(self, request: Request, found: Match) -> Message:
        message = found.method.request()
        body = await _read(request, MAX_BODY_BYTES)
        query = parse_query(request.scope.get("query_string", b""))
        if found.binding.body == "*":
            if body:
                _check_content_type(request.headers.get("content-type", ""))
            if query:
                raise InvalidArgument.field(shown(query[0][0]), "belongs in the JSON body", Reason.UNKNOWN_FIELD)
            fields = parse_body(body)
        else:
            if body.strip():
                raise InvalidArgument("body: this method takes none", reason=Reason.MALFORMED_REQUEST)
            fields = from_query(found.method.descriptor.input_type, query)
        for name, value in found.variables.items():
            _place(message, fields, name, value, "the one in the path")
        key = request.headers.get("idempotency-key", "")
        if key and "request_id" in message.DESCRIPTOR.fields_by_name:
            _place(message, fields, "request_id", key, "the header Idempotency-Key")
        fill(message, fields)
        return message

    async def _receive_upload(
        self, request: Request, variables: dict[str, str], call: Call, observed: Observed
    ) -> Response:
        admission = await self._endpoints.admit(self._upload, call)
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > upload.MAX_FORM_BYTES:
            raise upload.too_large()
        limited = Request(request.scope, _limited(request.receive, upload.MAX_FORM_BYTES, upload.too_large))
        form, header = await upload.parse_form(limited, variables)
        try:
            reply = await while_connected(request.receive, admission.upload(upload.pieces(form, header)))
        finally:
            await form.close()
        observed.finish(202)
        return _json(to_json(reply, "job"), 202, call.request_id)


def _json(body: bytes, status: int, request_id: str) -> Response:
    headers = {"x-request-id": request_id, "cache-control": "no-store", "x-content-type-options": "nosniff"}
    return Response(body, status, headers, "application/json")


def _place(message: Message, fields: dict[str, Any], name: str, value: str, source: str) -> None:
    """Put a value that came beside the body among the body's fields. Raises InvalidArgument when they differ."""
    for alias in (name, message.DESCRIPTOR.fields_by_name[name].json_name):
        if fields.pop(alias, None) not in (None, "", value):
            raise InvalidArgument.field(name, f"differs from {source}")
    fields[name] = value


def _check_content_type(declared: str) -> None:
    """JSON; also nothing, and what curl says of `-d` when it is not told: then the body speaks for itself."""
    kind = declared.partition(";")[0].strip().lower()
    if kind not in {"", "application/json", "application/x-www-form-urlencoded"} and not kind.endswith("+json"):
        raise UnsupportedMediaType("content-type: must be application/json")


def _body_too_large() -> InvalidArgument:
    return InvalidArgument(
        f"body: is larger than the limit of {MAX_BODY_BYTES:,} bytes (16 MiB)", reason=Reason.CONTENT_TOO_LARGE
    )


async def _read(request: Request, limit: int) -> bytes:
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise _body_too_large()
    pieces, size = [], 0
    async for piece in request.stream():
        size += len(piece)
        if size > limit:
            raise _body_too_large()
        pieces.append(piece)
    return b"".join(pieces)


def _limited(receive: Receive, limit: int, too_large: Callable[[], MeshError]) -> Receive:
    size = 0

    async def limited() -> Any:
        nonlocal size
        event = await receive()
        size += len(event.get("body", b""))
        if size > limit:
            raise too_large()
        return event

    return limited
