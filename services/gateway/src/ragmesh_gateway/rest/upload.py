"""Multipart upload: the one route that the contract cannot describe.

`POST /v1/collections/{collection_id}/documents:upload`, a form with a part `file` and the fields of UploadHeader
(`document_id`, `title`, `media_type`, `batch_id`, `request_id`, and `metadata` as a JSON object).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import Request

from ragmesh.gateway.v1 import documents_pb2
from ragmesh_gateway.rest.decoding import fill, parse_json, shown
from ragmesh_gateway.rest.paths import PathTemplate
from ragmesh_gateway.rest.problem import UnsupportedMediaType
from ragmesh_servicekit.errors import InvalidArgument, Reason

TEMPLATE = PathTemplate("/v1/collections/{collection_id}/documents:upload")
METHOD = "/ragmesh.gateway.v1.DocumentService/UploadDocument"
MAX_FILE_BYTES = 10 * 1024 * 1024
MAX_FORM_BYTES = MAX_FILE_BYTES + 256 * 1024
PIECE_BYTES = 512 * 1024
FIELDS = ("document_id", "title", "media_type", "batch_id", "request_id")


def too_large() -> InvalidArgument:
    return InvalidArgument.field(
        "content", f"is larger than the limit of {MAX_FILE_BYTES:,} bytes (10 MiB)", Reason.CONTENT_TOO_LARGE
    )


async def parse_form(request: Request, variables: Mapping[str, str]) -> tuple[FormData, documents_pb2.UploadHeader]:
    """The form and the header it makes. Raises InvalidArgument naming the field. The caller closes the form."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise UnsupportedMediaType("content-type: must be multipart/form-data with a part named file")
    try:
        form = await request.form(max_files=1, max_fields=16, max_part_size=64 * 1024)
    except (MultiPartException, HTTPException) as error:
        detail = str(getattr(error, "message", "") or getattr(error, "detail", "")) or "cannot be parsed"
        raise InvalidArgument(f"body: is not a valid form: {detail}", reason=Reason.MALFORMED_REQUEST) from error
    try:
        return form, _header(form, variables, request.headers.get("idempotency-key", ""))
    except BaseException:
        await form.close()
        raise


def _header(form: FormData, variables: Mapping[str, str], idempotency_key: str) -> documents_pb2.UploadHeader:
    file = form.get("file")
    if not isinstance(file, UploadFile):
        raise InvalidArgument.field("file", "is required: a form part with the content of the document")
    if (file.size or 0) > MAX_FILE_BYTES:
        raise too_large()
    fields: dict[str, Any] = {}
    for name, value in form.multi_items():
        if name == "file":
            continue
        if name not in (*FIELDS, "metadata"):
            raise InvalidArgument.field(shown(name), "is not a field of this form", Reason.UNKNOWN_FIELD)
        if name in fields or not isinstance(value, str):
            raise InvalidArgument.field(name, "must be given once, as text")
        fields[name] = _metadata(value) if name == "metadata" else value
    fields.setdefault("media_type", _declared(file.content_type))
    header = documents_pb2.UploadHeader(file_name=file.filename or "")
    fill(header, {**fields, **variables})
    if idempotency_key:
        if header.request_id not in ("", idempotency_key):
            raise InvalidArgument.field("request_id", "differs from the header Idempotency-Key")
        fill(header, {"request_id": idempotency_key})
    return header


def _metadata(text: str) -> Any:
    try:
        return parse_json(text)
    except ValueError as error:
        raise InvalidArgument.field("metadata", "must be a JSON object of strings") from error


def _declared(content_type: str | None) -> str:
    """What the part itself declares; the generic type that clients send for unknown files says nothing."""
    kind = (content_type or "").partition(";")[0].strip().lower()
    return "" if kind == "application/octet-stream" else kind


async def pieces(
    form: FormData, header: documents_pb2.UploadHeader
) -> AsyncIterator[documents_pb2.UploadDocumentRequest]:
    """The messages of the upload: the header, then the file."""
    yield documents_pb2.UploadDocumentRequest(header=header)
    file = form["file"]
    assert isinstance(file, UploadFile)
    while data := await file.read(PIECE_BYTES):
        yield documents_pb2.UploadDocumentRequest(data=data)


OPENAPI: dict[str, Any] = {
    TEMPLATE.openapi(): {
        "post": {
            "operationId": "uploadDocument",
            "tags": ["Document"],
            "summary": "Takes a file as a multipart form and answers with a durable Job",
            "description": "Errors as for createDocument. Scope: `documents:write`.",
            "parameters": [{"name": "collection_id", "in": "path", "required": True, "schema": {"type": "string"}}],
            "requestBody": {
                "required": True,
                "content": {
                    "multipart/form-data": {
                        "schema": {
                            "type": "object",
                            "required": ["file"],
                            "properties": {
                                "file": {"type": "string", "contentMediaType": "application/octet-stream"},
                                "metadata": {"type": "string", "description": "A JSON object of strings."},
                                **{name: {"type": "string"} for name in FIELDS},
                            },
                            "additionalProperties": False,
                        }
                    }
                },
            },
            "responses": {
                "202": {
                    "description": "The promise.",
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Job"}}},
                },
                "default": {
                    "description": "The request failed; `reason` says why.",
                    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
                },
            },
        }
    }
}
