"""Where sentences begin and end. One definition, because two places must agree: the extractive answerer cuts
passages into sentences, and an answer's confidence is the share of its sentences that carry a citation.

Good enough rather than perfect: rules, no model. A wrong cut costs a clumsy quotation, never a wrong citation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

MARK = r"\[[1-9][0-9]{0,2}(?:[,;] ?[1-9][0-9]{0,2}){0,7}\]"
"""A citation mark as a pattern: `[1]`, `[1, 2]`, `[1;2]`. At most three digits, so that a year in brackets is text."""

_FENCE = re.compile(r"\s{0,3}(`{3,}|~{3,})")
_HEADING = re.compile(r"\s{0,3}#{1,6}\s")
_UNDERLINE = re.compile(r"\s{0,3}(=+|-+)\s*$")
_ITEM = re.compile(r"\s*(?:[-*+•]|\(?\d{1,3}[.)])\s+")
_TABLE_ROW = re.compile(r"\s*\|.*\|\s*$")

_END = re.compile(
    rf"(?:(?P<stop>[.!?…]+)[\"'”’»)\]*_]*(?:\s?{MARK})*(?=\s|$))"  # Latin and most other scripts: blank or end after it
    rf"|(?:[。！？｡।॥؟۔]+[」』）”’]*(?:\s?{MARK})*)"  # marks that end a sentence with or without a blank
)
_ABBREVIATIONS = frozenset(
    [
        "mr",
        "mrs",
        "ms",
        "dr",
        "prof",
        "st",
        "jr",
        "sr",
        "rev",
        "hon",
        "gen",
        "col",
        "capt",
        "lt",
        "sgt",
        "gov",
        "sen",
        "rep",
        "pres",
        "e.g",
        "i.e",
        "cf",
        "vs",
        "viz",
        "al",
        "approx",
        "ca",
        "fig",
        "figs",
        "eq",
        "eqs",
        "no",
        "nos",
        "vol",
        "vols",
        "pp",
        "ch",
        "sec",
        "ed",
        "eds",
        "inc",
        "ltd",
        "co",
        "corp",
        "dept",
        "est",
        "jan",
        "feb",
        "mar",
        "apr",
        "jun",
        "jul",
        "aug",
        "sep",
        "sept",
        "oct",
        "nov",
        "dec",
        "a.m",
        "p.m",
        "z.b",
        "d.h",
        "bzw",
        "usw",
        "u.a",
        "nr",
        "bspw",
        "m",
        "mme",
        "mlle",
        "sig",
        "sra",
        "srta",
        "ph.d",
    ]
)
_ENDS_MOST_SENTENCES = frozenset({"no", "al", "co", "m", "est", "a.m", "p.m", "ph.d", "inc", "ltd", "corp"})
_LAST_WORD = re.compile(r"[^\s(\[\"'“‘«]+$")
_INITIALS = re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]$")


@dataclass(frozen=True, slots=True)
class Sentence:
    """text == passage[start:end], code points, without the blanks, bullet or number before it. heading: the last
    Markdown heading above it in the same text, empty when there is none. item: it opens or continues a list item."""

    text: str
    start: int
    end: int
    heading: str = ""
    item: bool = False


def sentences(text: str) -> tuple[Sentence, ...]:
    """The sentences in order. Code blocks, headings and table rows are left out; a list item is at least one
    sentence of its own; text without a final stop is a sentence too."""
    return tuple(s for block in _blocks(text) for s in _cut(block))


@dataclass(frozen=True, slots=True)
class _Block:
    text: str
    start: int
    heading: str
    item: bool


def _blocks(text: str) -> Iterator[_Block]:
    heading, fence = "", ""
    start, end, item, at = -1, -1, False, 0
    for line in text.splitlines(keepends=True):
        begin, at = at, at + len(line)
        fence_mark = _FENCE.match(line)
        if fence:
            fence = "" if fence_mark and fence_mark[1].startswith(fence) else fence
            continue
        rule = _UNDERLINE.match(line)
        apart = not line.strip() or fence_mark or rule or _HEADING.match(line) or _TABLE_ROW.match(line)
        if rule and start >= 0 and not item and "\n" not in text[start:end].strip():
            heading, start = text[start:end].strip(), -1
            continue
        bullet = _ITEM.match(line)
        if (apart or bullet) and start >= 0:
            yield _Block(text[start:end], start, heading, item)
            start = -1
        if fence_mark:
            fence = fence_mark[1]
        elif _HEADING.match(line):
            heading = line.strip().strip("#").strip()
        elif not apart:
            if start < 0:
                start, item = begin + (bullet.end() if bullet else 0), bullet is not None
            end = at
    if start >= 0:
        yield _Block(text[start:end], start, heading, item)


def _cut(block: _Block) -> Iterator[Sentence]:
    begin = 0
    for match in _END.finditer(block.text):
        if not _goes_on(block.text, match):
            yield from _sentence(block, begin, match.end())
            begin = match.end()
    yield from _sentence(block, begin, len(block.text))


def _sentence(block: _Block, begin: int, end: int) -> Iterator[Sentence]:
    raw = block.text[begin:end]
    text = raw.strip()
    if any(c.isalnum() for c in text):
        start = block.start + begin + len(raw) - len(raw.lstrip())
        yield Sentence(text, start, start + len(text), block.heading, block.item)


def _goes_on(text: str, end: re.Match[str]) -> bool:
    """Whether the sentence goes on after this mark: a small letter follows, or an abbreviation or initial ended."""
    following = text[end.end() :].lstrip()[:1]
    if end["stop"] is None or not following:
        return False
    if following.islower():
        return end["stop"] == "." or end["stop"] != end[0]  # `"Why?" she asked.`
    if end["stop"] != ".":
        return False
    last = _LAST_WORD.search(text[max(0, end.start() - 24) : end.start()])
    if last is None:
        return False
    word = last[0].lower()
    if following.isdigit() and (word in {"no", "al", "p"} or (len(word) == 1 and last[0].islower())):
        return True
    return word not in _ENDS_MOST_SENTENCES and (
        word in _ABBREVIATIONS or (_INITIALS.match(last[0]) is not None and last[0][-1].isupper())
    )
