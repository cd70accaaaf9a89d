"""A parsed document: the text that offsets refer to, its title and its blocks.

For plain text and Markdown the parsed text is the source itself, so an offset means the same in the file and
in the index. For HTML it is the visible text. Blocks are in order, do not overlap, and together hold every
character of the parsed text but whitespace (and a Markdown file's front matter, which is not prose).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class BlockKind(StrEnum):
    """What a block is; only paragraphs are cut at sentences, the others at lines."""

    HEADING = "HEADING"
    PARAGRAPH = "PARAGRAPH"
    LIST = "LIST"
    TABLE = "TABLE"
    CODE = "CODE"


@dataclass(frozen=True, slots=True)
class Block:
    """Half-open range of code points of the parsed text, without surrounding blank lines. heading_path is where
    the block stands; a heading's own path ends in itself."""

    start: int
    end: int
    kind: BlockKind
    heading_path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """title is empty when the document names none."""

    text: str
    title: str
    blocks: tuple[Block, ...]


MAX_TITLE_CHARS = 500
MAX_HEADING_CHARS = 200


class HeadingStack:
    """The headings above the current place: a heading closes those of its own and of deeper levels."""

    def __init__(self) -> None:
        self._stack: list[tuple[int, str]] = []

    def open(self, level: int, name: str) -> tuple[str, ...]:
        while self._stack and self._stack[-1][0] >= level:
            self._stack.pop()
        if name:
            self._stack.append((level, name[:MAX_HEADING_CHARS]))
        return self.path

    @property
    def path(self) -> tuple[str, ...]:
        return tuple(name for _, name in self._stack)


_LINE = re.compile(r"[^\n]*\n|[^\n]+\Z")
_SPACE = re.compile(r"\s+")


def lines(text: str, start: int = 0) -> Iterator[tuple[int, int]]:
    """Ranges of the lines of text from start on, their line feed included."""
    for match in _LINE.finditer(text, start):
        yield match.start(), match.end()


def stripped(text: str, start: int, end: int) -> tuple[int, int]:
    """The range without whitespace at either end; empty (start, start) when it holds nothing else."""
    piece = text[start:end]
    body = piece.strip()
    if not body:
        return start, start
    lead = len(piece) - len(piece.lstrip())
    return start + lead, start + lead + len(body)


def one_line(text: str, limit: int = MAX_TITLE_CHARS) -> str:
    """A title as one line of at most `limit` characters."""
    return _SPACE.sub(" ", text).strip()[:limit].rstrip()
