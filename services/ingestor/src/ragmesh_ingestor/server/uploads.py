"""The parts of SubmitDocument put together, within bounds."""

from __future__ import annotations

from collections.abc import AsyncIterator

from ragmesh.ingestor.v1 import ingestor_pb2
from ragmesh_ingestor.domain.media import MAX_CONTENT_BYTES, check_size
from ragmesh_servicekit.errors import InvalidArgument, Reason


async def collect(
    requests: AsyncIterator[ingestor_pb2.SubmitDocumentRequest],
) -> tuple[ingestor_pb2.UploadHeader, bytes]:
    """The header and the whole content. Raises InvalidArgument when the header is not first or comes twice, and as soon
    as the content is over the limit."""
    header: ingestor_pb2.UploadHeader | None = None
    data = bytearray()
    async for request in requests:
        match request.WhichOneof("part"):
            case "header" if header is None:
                header = request.header
            case "data" if header is not None:
                data += request.data
                check_size(len(data), MAX_CONTENT_BYTES)
            case "header":
                raise InvalidArgument.field("header", "must be sent once", Reason.MALFORMED_REQUEST)
            case _:
                raise InvalidArgument.field("header", "must be sent first", Reason.MALFORMED_REQUEST)
    if header is None:
        raise InvalidArgument.field("header", "is required", Reason.MALFORMED_REQUEST)
    return header, bytes(data)
