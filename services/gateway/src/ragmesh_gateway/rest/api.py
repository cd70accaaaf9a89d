"""REST: requests to messages, the endpoint, messages to JSON. Routes come from the contract."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

from google.protobuf.message import Message
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ragmesh_gateway.rest import upload
from ragmesh_gateway.rest.decoding import fill, from_query, parse_body
from ragmesh_gateway.rest.encoding import to_json
from ragmesh_gateway.rest.observed import CLIENT_CLOSED_REQUEST, Observed
from ragmesh_gateway.rest.openapi import OpenApi
from ragmesh_gateway.rest.problem import problem
from ragmesh_gateway.rest.routes import Match, Routes
from ragmesh_gateway.rest.streams import StreamResponse, media_type
from ragmesh_gateway.server.endpoints import Call, Endpoints
from ragmesh_servicekit.errors import InvalidArgument, MeshError, NotFound, Reason
from ragmesh_servicekit.status import to_mesh_error

MAX_BODY_BYTES = 16 * 1024 * 1024
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")

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
        given = request.headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        page = self._pages.get(scope["path"]) if request.method in {"GET", "HEAD"} else None
        if page is not None:
            await (await page())(scope, receive, send)
            return
        observed = Observed(request.method, request.headers, request_id)
        with observed:
            response = await self._respond(request, request_id, observed)
            await response(scope, receive, send)

    async def _openapi_page(self) -> Response:
        return Response(self._openapi, media_type="application/json")

    async def _respond(self, request: Request, request_id: str, observed: Observed) -> ASGIApp:
        try:
            response = await self._dispatch(request, request_id, observed)
        except ClientDisconnect:
            observed.finish(CLIENT_CLOSED_REQUEST)
            return Response(status_code=CLIENT_CLOSED_REQUEST)
        except Exception as error:
            failure = to_mesh_error(error)
            answer = problem(failure, request_id, observed.trace_id, getattr(failure, "http_status", None))
            answer.headers.update(getattr(failure, "http_headers", {}))
            observed.finish(answer.status_code, failure)
            return answer
        return response

    async def _dispatch(self, request: Request, request_id: str, observed: Observed) -> ASGIApp:
        raw_path = request.scope.get("raw_path", request.scope["path"].encode()).decode("ascii", "replace")
        call = Call(request.headers.get("authorization", ""), request_id)
        uploaded = upload.TEMPLATE.match(raw_path)
        if uploaded is not None and request.method == "POST":
            observed.method(self._upload.path)
            return await self._receive_upload(request, dict(uploaded), call, observed)
        found = self._routes.match(request.method, raw_path)
        if isinstance(found, tuple):
            raise _no_route(request.method, found or (("POST",) if uploaded is not None else ()))
        observed.method(found.method.path)
        message = await self._message(request, found)
        if found.method.server_streaming:
            return await self._stream(request, found, message, call, observed)
        reply = await self._endpoints.unary(found.method, message, call)
        status = 202 if found.method.accepted else 200
        observed.finish(status)
        return _json(to_json(reply, found.binding.response_body), status, request_id)

    async def _message(self, request: Request, found: Match) -> Message:
        message = found.method.request()
        body = await _read(request, MAX_BODY_BYTES)
        fields: dict[str, Any] = {}
        if found.binding.body == "*":
            fields = parse_body(body)
            if request.query_params:
                name = next(iter(request.query_params))
                raise InvalidArgument.field(name, "belongs in the JSON body", Reason.UNKNOWN_FIELD)
        else:
            if body.strip():
                raise InvalidArgument("body: this method takes none", reason=Reason.MALFORMED_REQUEST)
            fields = from_query(found.method.descriptor.input_type, request.query_params.multi_items())
        for name, value in found.variables.items():
            if fields.get(name, value) != value:
                raise InvalidArgument.field(name, "differs from the one in the path")
            fields[name] = value
        key = request.headers.get("idempotency-key")
        if key and "request_id" in message.DESCRIPTOR.fields_by_name:
            fields.setdefault("request_id", key)
        fill(message, fields)
        return message

    async def _stream(
        self, request: Request, found: Match, message: Message, call: Call, observed: Observed
    ) -> ASGIApp:
        replies = self._endpoints.stream(found.method, message, call)
        kind = media_type(request.headers.get("accept", ""))
        response = StreamResponse(replies, kind, call.request_id, to_mesh_error, observed.finish_stream)
        try:
            await response.begin()
        except BaseException:
            await replies.aclose()
            raise
        return response

    async def _receive_upload(
        self, request: Request, variables: dict[str, str], call: Call, observed: Observed
    ) -> Response:
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > upload.MAX_FORM_BYTES:
            raise upload.too_large()
        limited = Request(request.scope, _limited(request.receive, upload.MAX_FORM_BYTES, upload.too_large))
        form, header = await upload.parse_form(limited, variables)
        try:
            reply = await self._endpoints.upload(self._upload, upload.pieces(form, header), call)
        finally:
            await form.close()
        observed.finish(202)
        return _json(to_json(reply, "job"), 202, call.request_id)


def _json(body: bytes, status: int, request_id: str) -> Response:
    return Response(body, status, {"x-request-id": request_id}, "application/json")


def _no_route(verb: str, allowed: tuple[str, ...]) -> MeshError:
    if not allowed:
        return NotFound("no such route; /openapi.json lists them", reason=Reason.ROUTE_NOT_FOUND)
    error = NotFound(f"this path does not take {verb}, only {', '.join(allowed)}", reason=Reason.ROUTE_NOT_FOUND)
    error.http_status = 405  # type: ignore[attr-defined]  # a notion that only HTTP has
    error.http_headers = {"allow": ", ".join(allowed)}  # type: ignore[attr-defined]
    return error


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
