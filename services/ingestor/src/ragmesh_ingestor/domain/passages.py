"""From the bytes of a document to its passages: the pure pipeline that the sandboxed parser runs."""

from __future__ import annotations

from ragmesh_backends.model.document import MediaType
from ragmesh_ingestor.domain import media
from ragmesh_ingestor.domain.chunking import ChunkLimits, cut
from ragmesh_ingestor.domain.entities import with_entities
from ragmesh_ingestor.domain.parsed import one_line
from ragmesh_ingestor.domain.parsing import parse
from ragmesh_ingestor.domain.passage import ParsedPassages, ParseRequest
from ragmesh_ingestor.domain.wordpieces import Spans
from ragmesh_servicekit.errors import InvalidArgument, Reason


def passages_of(request: ParseRequest, limits: ChunkLimits, spans: Spans) -> ParsedPassages:
    """Check, parse, cut, name. Raises InvalidArgument for a document that is not what it says or shows no text."""
    source = media.decode(request.data, request.media_type)
    parsed = parse(source, request.media_type)
    title = one_line(request.title) or parsed.title
    passages = cut(parsed, title, limits, spans)
    if not passages:
        what = "visible text" if request.media_type is MediaType.HTML else "text"
        raise InvalidArgument.field("content", f"holds no {what}", Reason.CONTENT_INVALID)
    return ParsedPassages(parsed.text, title, with_entities(parsed, title, passages))
