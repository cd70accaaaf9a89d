"""Passages of a parsed document: as much as the embedding model reads at once, cut where the text itself parts.

Blocks of one section are gathered up to the limit; a section that is too long is cut between blocks, else
between sentences (lines of code, items, rows), else between words, into pieces of about equal length rather
than full ones and a stump. Small neighbouring sections are merged. A heading stays with what follows it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import ceil

from ragmesh_backends.model.document import Chunk
from ragmesh_ingestor.domain.parsed import Block, BlockKind, ParsedDocument, lines, stripped
from ragmesh_ingestor.domain.passage import Passage
from ragmesh_ingestor.domain.wordpieces import PieceIndex, Spans

SPECIAL_TOKENS = 2
"""[CLS] and [SEP], which the model puts around every text."""

MAX_CHUNK_CHARS = 8_000
"""No chunk is longer, whatever its tokens: a run of 100 letters or more is a single unknown word to WordPiece,
and the vector store takes 65,535 bytes (4 per code point in UTF-8)."""

_SENTENCE_END = re.compile(r"[.!?…]+[\"'”’)\]]*\s+|[。！？]+|\n[ \t]*\n")


_LINED = frozenset({BlockKind.CODE, BlockKind.LIST, BlockKind.TABLE})


@dataclass(frozen=True, slots=True)
class ChunkLimits:
    """max_tokens: word pieces of the embedded text (title and headings, special tokens and passage), 32 or more.
    overlap_tokens: how much of the text before it a chunk repeats where a section had to be cut; at most a quarter
    of max_tokens. whole_tokens: a document of one section and at most so many word pieces is not cut, although the
    embedding model then reads its beginning only: on SciFact's abstracts nDCG@10 is .737 so and .726 cut at 230."""

    max_tokens: int = 256
    overlap_tokens: int = 0
    whole_tokens: int = 0

    def __post_init__(self) -> None:
        if self.max_tokens < 32:
            raise ValueError("max_tokens: must be 32 or more")
        if not 0 <= self.overlap_tokens <= self.max_tokens // 4:
            raise ValueError("overlap_tokens: must be between 0 and a quarter of max_tokens")


@dataclass(frozen=True, slots=True)
class _Unit:
    """What is not cut any further at the present level."""

    start: int
    end: int
    kind: BlockKind
    path: tuple[str, ...]


def cut(parsed: ParsedDocument, title: str, limits: ChunkLimits, spans: Spans) -> list[Passage]:
    """The passages of a document, in order; none is empty, and without overlap none share a character.

    title: what `embedding_text` will put before each passage; it takes its share of the limit.
    """
    pieces = PieceIndex(parsed.text, spans, MAX_CHUNK_CHARS)
    packer = _Packer(parsed.text, title, limits, spans, pieces)
    passages: list[Passage] = []
    groups = list(packer.groups(parsed.blocks))
    if len(groups) == 1 and packer.stays_whole(groups[0]):
        return [packer.passage(groups[0])]
    for group in groups:
        passages.extend(packer.split(group))
    return passages


def chunks_of(parsed_text: str, document_id: str, version: int, title: str, passages: Sequence[Passage]) -> list[Chunk]:
    """The passages as chunks of one version of a document."""
    return [
        Chunk(
            chunk_id=chunk_id(document_id, version, ordinal),
            document_id=document_id,
            version=version,
            ordinal=ordinal,
            text=parsed_text[passage.start : passage.end],
            title=title,
            heading_path=passage.heading_path,
            start=passage.start,
            end=passage.end,
        )
        for ordinal, passage in enumerate(passages)
    ]


def chunk_id(document_id: str, version: int, ordinal: int) -> str:
    """32 hex digits, the same whenever the same version is ingested again, so that a repeated attempt writes the
    same rows. Unique within an index (128 bits of BLAKE2b; document ids hold no colon-separated numbers to
    confuse, since version and ordinal are counted from the right)."""
    name = f"{document_id}:{version}:{ordinal}".encode()
    return hashlib.blake2b(name, digest_size=16).hexdigest()


def embedding_text(chunk: Chunk) -> str:
    """What the model embeds for a chunk: title and headings on one line, then its text. The only place that says
    so. A name that the text itself begins with is not said twice."""
    first_line = chunk.text.split("\n", 1)[0].lstrip("# ").strip()
    prefix = embedding_prefix(chunk.title, chunk.heading_path, first_line)
    return f"{prefix}\n{chunk.text}" if prefix else chunk.text


MAX_PREFIX_CHARS = 240


def embedding_prefix(title: str, heading_path: Sequence[str], first_line: str = "") -> str:
    """Title and headings on one line, each name once and without `first_line`, at most MAX_PREFIX_CHARS (the title
    and the innermost headings are kept)."""
    seen = {"", first_line.casefold()}
    names: list[str] = []
    for name in (title, *heading_path):
        if name.casefold() not in seen:
            seen.add(name.casefold())
            names.append(name)
    while len(names) > 2 and sum(len(name) + 3 for name in names) > MAX_PREFIX_CHARS:
        del names[1]
    return " > ".join(names)[:MAX_PREFIX_CHARS]


class _Packer:
    def __init__(self, text: str, title: str, limits: ChunkLimits, spans: Spans, pieces: PieceIndex) -> None:
        self._text = text
        self._title = title
        self._limits = limits
        self._spans = spans
        self._pieces = pieces
        self._budgets: dict[tuple[str, ...], int] = {}

    def groups(self, blocks: Iterable[Block]) -> Iterator[list[_Unit]]:
        """Sections, small ones merged with their neighbours while they fit together."""
        held: list[_Unit] = []
        for path, section in groupby(blocks, key=lambda block: block.heading_path):
            units = [_Unit(b.start, b.end, b.kind, path) for b in section]
            if held and not self._joins(held, units):
                yield held
                held = []
            held = held + units
        if held:
            yield held

    def split(self, group: list[_Unit]) -> Iterator[Passage]:
        """One passage when the group fits, else several of about equal length."""
        budget = min(self._budget(unit.path) for unit in group)
        if self._fits(group[0].start, group[-1].end, budget):
            yield self.passage(group)
            return
        units = list(self._refine(group, budget))
        total = sum(self._tokens(u.start, u.end) for u in units)
        target = ceil(total / max(1, ceil(total / budget)))
        held: list[_Unit] = []
        for unit in self._with_headings(units, budget):
            if held:
                both = self._tokens(held[0].start, unit[-1].end)
                so_far = self._tokens(held[0].start, held[-1].end)
                full = not self._fits(held[0].start, unit[-1].end, budget)
                if full or both - target > target - so_far:
                    yield self.passage(held)
                    held = self._overlap(held, unit, budget)
            held = held + unit
        if held:
            yield self.passage(held)

    def _joins(self, held: list[_Unit], units: list[_Unit]) -> bool:
        if all(unit.kind is BlockKind.HEADING for unit in held):
            return True
        budget = min(self._budget(held[-1].path), self._budget(units[0].path))
        small = self._limits.max_tokens // 4
        a = self._tokens(held[0].start, held[-1].end)
        b = self._tokens(units[0].start, units[-1].end)
        return min(a, b) < small and self._fits(held[0].start, units[-1].end, budget)

    def stays_whole(self, group: Sequence[_Unit]) -> bool:
        """Whether a document that is this one section is short enough not to be cut."""
        return self._fits(group[0].start, group[-1].end, self._limits.whole_tokens)

    def passage(self, units: Sequence[_Unit]) -> Passage:
        bodies = [unit.path for unit in units if unit.kind is not BlockKind.HEADING] or [units[-1].path]
        path = bodies[0]
        for other in bodies[1:]:
            shared = 0
            while shared < min(len(path), len(other)) and path[shared] == other[shared]:
                shared += 1
            path = path[:shared]
        start, end = stripped(self._text, units[0].start, units[-1].end)
        return Passage(start, end, path)

    def _budget(self, path: tuple[str, ...]) -> int:
        """Word pieces left for the passage after its prefix; a long prefix takes half at most (the model then
        leaves out the last words of the passage)."""
        budget = self._budgets.get(path)
        if budget is None:
            prefix = len(self._spans(embedding_prefix(self._title, path)))
            room = self._limits.max_tokens - SPECIAL_TOKENS
            budget = self._budgets[path] = max(room - prefix, room // 2)
        return budget

    def _tokens(self, start: int, end: int) -> int:
        return self._pieces.count(start, end)

    def _fits(self, start: int, end: int, budget: int) -> bool:
        return end - start <= MAX_CHUNK_CHARS and self._pieces.at_most(start, end, budget)

    def _refine(self, units: Iterable[_Unit], budget: int) -> Iterator[_Unit]:
        """Units that each fit with the headings before them: blocks, else sentences or lines, else runs of words,
        short ones, so that they can be packed evenly."""
        room = budget
        for unit in units:
            if unit.kind is BlockKind.HEADING:
                room = max(room - self._tokens(unit.start, unit.end), budget // 2)
            if self._fits(unit.start, unit.end, room):
                yield unit
            else:
                finer = self._lines if unit.kind in _LINED else self._sentences
                for start, end in finer(unit.start, unit.end):
                    if self._fits(start, end, room):
                        yield _Unit(start, end, unit.kind, unit.path)
                    else:
                        for a, b in self._pieces.runs(start, end, room // 4):
                            yield _Unit(a, b, unit.kind, unit.path)
            if unit.kind is not BlockKind.HEADING:
                room = budget

    def _sentences(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        begin = start
        for match in _SENTENCE_END.finditer(self._text, start, end):
            if begin < match.start():
                yield stripped(self._text, begin, match.end())
                begin = match.end()
        if begin < end:
            yield stripped(self._text, begin, end)

    def _lines(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        for a, b in lines(self._text[start:end]):
            if not self._text[start + a : start + b].isspace():
                yield start + a, start + b

    def _with_headings(self, units: Sequence[_Unit], budget: int) -> Iterator[list[_Unit]]:
        """Units with the headings before them, when both fit."""
        held: list[_Unit] = []
        for unit in units:
            if held and not self._fits(held[0].start, unit.end, budget):
                yield held
                held = []
            held = [*held, unit]
            if unit.kind is not BlockKind.HEADING:
                yield held
                held = []
        if held:
            yield held

    def _overlap(self, before: Sequence[_Unit], unit: Sequence[_Unit], budget: int) -> list[_Unit]:
        """The end of the passage before, up to overlap_tokens, from a word's beginning on."""
        if not self._limits.overlap_tokens:
            return []
        last = before[-1]
        start = self._pieces.tail(before[0].start, last.end, self._limits.overlap_tokens)
        if start >= last.end or not self._fits(start, unit[-1].end, budget):
            return []
        return [_Unit(start, last.end, last.kind, last.path)]
