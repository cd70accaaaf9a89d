"""Markdown into blocks, by lines. The parsed text is the source itself, so nothing is rendered: what a chunk
needs is where headings, code, lists, tables and paragraphs begin and end, and that follows from a line scan
(the block structure of the CommonMark specification 0.31, section 4, without its nesting).
"""

from __future__ import annotations

import re

from ragmesh_ingestor.domain.parsed import (
    Block,
    BlockKind,
    HeadingStack,
    ParsedDocument,
    lines,
    one_line,
    stripped,
)

_ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))??(?:[ \t]+#+)?[ \t]*\r?\n?\Z")
_SETEXT = re.compile(r" {0,3}(=+|-+)[ \t]*\r?\n?\Z")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_LIST_ITEM = re.compile(r"[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]+\S")
_TABLE_ROW = re.compile(r"[ \t]*\|.*\|[ \t]*\r?\n?\Z")
_RULE = re.compile(r" {0,3}([-*_])[ \t]*(?:\1[ \t]*){2,}\r?\n?\Z")
_FRONT_MATTER_TITLE = re.compile(r"^title[ \t]*:[ \t]*(.+?)[ \t]*$", re.MULTILINE | re.IGNORECASE)
_MAX_FRONT_MATTER_CHARS = 64 * 1024

# What a heading's name loses: link targets, images, emphasis, code marks.
_LINK = re.compile(r"!?\[([^\]]*)\](?:\([^)]*\)|\[[^\]]*\])")
_MARKS = re.compile(r"(\*{1,3}|`+|~~)(?=\S)(.+?)(?<=\S)\1")


def parse_markdown(text: str) -> ParsedDocument:
    """The title is the front matter's, else the first heading of level 1."""
    body, title = _front_matter(text)
    scan = _Scan(text)
    for start, end in lines(text, body):
        scan.line(start, end)
    scan.flush()
    return ParsedDocument(text, title or scan.title, tuple(scan.blocks))


def heading_name(source: str) -> str:
    """A heading's words without markup."""
    return one_line(_MARKS.sub(r"\2", _LINK.sub(r"\1", source)))


def _front_matter(text: str) -> tuple[int, str]:
    """Where the body begins, and the title that a YAML front matter names (0 and empty without one)."""
    if not re.match(r"---[ \t]*\r?\n", text):
        return 0, ""
    limit = min(len(text), _MAX_FRONT_MATTER_CHARS)
    close = re.compile(r"^(?:---|\.\.\.)[ \t]*\r?(?:\n|\Z)", re.MULTILINE).search(text, 4, limit)
    if close is None or not re.search(r"^[\w-]+[ \t]*:", text[4 : close.start()], re.MULTILINE):
        return 0, ""  # a rule and prose, not front matter
    if not text[close.end() :].strip():
        return 0, ""  # nothing else: then this is the document
    named = _FRONT_MATTER_TITLE.search(text, 4, close.start())
    title = one_line(named[1].strip("\"'")) if named else ""
    return close.end(), title


class _Scan:
    """One pass over the lines. A block is open from `_begin` to `_end`; a line closes it, joins it, or both."""

    def __init__(self, text: str) -> None:
        self.blocks: list[Block] = []
        self.title = ""
        self._text = text
        self._headings = HeadingStack()
        self._begin = self._end = 0
        self._kind: BlockKind | None = None
        self._fence = ""  # the open fence's marks
        self._blank = False  # the line before was blank, within a list

    def line(self, start: int, end: int) -> None:
        line = self._text[start:end]
        if self._fence:
            self._end = end
            if line.strip().startswith(self._fence) and not line.strip().strip(self._fence[0]):
                self._fence = ""
                self.flush()
            return
        if line.isspace():
            if self._kind is BlockKind.LIST:
                self._blank = True
            else:
                self.flush()
            return
        fence = _FENCE.match(line)
        if fence:
            self._open(BlockKind.CODE, start, end)
            self._fence = fence[1]
            return
        atx = _ATX.match(line)
        if atx:
            self._heading(len(atx[1]), atx[2] or "", start, end)
            return
        setext = _SETEXT.match(line)
        if setext and self._kind is BlockKind.PARAGRAPH:
            level = 1 if setext[1][0] == "=" else 2
            name, begin = self._text[self._begin : self._end], self._begin
            self._kind = None
            self._heading(level, name, begin, end)
            return
        self._text_line(line, start, end)

    def flush(self) -> None:
        """Close the open block."""
        if self._kind is not None:
            start, end = stripped(self._text, self._begin, self._end)
            self.blocks.append(Block(start, end, self._kind, self._headings.path))
        self._kind, self._blank = None, False

    def _text_line(self, line: str, start: int, end: int) -> None:
        if _LIST_ITEM.match(line) and not _RULE.match(line):
            kind = BlockKind.LIST
        elif _TABLE_ROW.match(line):
            kind = BlockKind.TABLE
        elif self._kind is BlockKind.LIST and (not self._blank or line[0] in " \t"):
            kind = BlockKind.LIST  # the continuation of an item
        elif self._kind in {None, BlockKind.CODE} and line.startswith(("    ", "\t")):
            kind = BlockKind.CODE
        else:
            kind = BlockKind.PARAGRAPH
        if kind is self._kind:
            self._end, self._blank = end, False
        else:
            self._open(kind, start, end)

    def _open(self, kind: BlockKind, start: int, end: int) -> None:
        self.flush()
        self._kind, self._begin, self._end = kind, start, end

    def _heading(self, level: int, source: str, start: int, end: int) -> None:
        self.flush()
        name = heading_name(source)
        path = self._headings.open(level, name)
        if level == 1 and not self.title:
            self.title = name
        self.blocks.append(Block(*stripped(self._text, start, end), BlockKind.HEADING, path))
