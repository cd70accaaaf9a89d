"""From decoded text to a parsed document, by its type."""

from __future__ import annotations

from ragmesh_backends.model.document import MediaType
from ragmesh_ingestor.domain.html import parse_html
from ragmesh_ingestor.domain.markdown import parse_markdown
from ragmesh_ingestor.domain.parsed import Block, BlockKind, ParsedDocument, lines, stripped


def parse(text: str, media_type: MediaType) -> ParsedDocument:
    """Parse text that `media.decode` accepted. Raises nothing of its own: any text is a document."""
    if media_type is MediaType.HTML:
        return parse_html(text)
    if media_type is MediaType.MARKDOWN:
        return parse_markdown(text)
    return parse_plain(text)


def parse_plain(text: str) -> ParsedDocument:
    """Paragraphs are what blank lines separate; plain text has no title of its own."""
    blocks: list[Block] = []
    begin: int | None = None
    last = 0
    for start, end in lines(text):
        if text[start:end].isspace():
            if begin is not None:
                blocks.append(Block(*stripped(text, begin, last), BlockKind.PARAGRAPH))
                begin = None
        elif begin is None:
            begin = start
        last = end
    if begin is not None:
        blocks.append(Block(*stripped(text, begin, len(text)), BlockKind.PARAGRAPH))
    return ParsedDocument(text, "", tuple(blocks))
