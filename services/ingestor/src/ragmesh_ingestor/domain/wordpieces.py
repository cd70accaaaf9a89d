"""Where the word pieces of a text begin, counted once for a whole document.

The tokenizer splits words at blanks and punctuation before anything else, so the pieces of a range that is cut
between words are exactly the whole text's pieces that begin in it: every later count is two binary searches.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence

Spans = Callable[[str], Sequence[tuple[int, int]]]
"""The port to the embedding model's tokenizer: half-open code point ranges of the word pieces of a text, in order,
without special tokens."""

_WINDOW_CHARS = 64 * 1024
"""The tokenizer is given this much at once: it needs about 100 bytes a piece while it works."""


class PieceIndex:
    def __init__(self, text: str, spans: Spans, max_chars: int) -> None:
        """max_chars: the longest run that `runs` may make."""
        self._text = text
        self._spans = spans
        self._max_chars = max_chars
        self._counted: array[int] | None = None

    def count(self, start: int, end: int) -> int:
        """Word pieces that begin in [start, end)."""
        return bisect_left(self._starts, end) - bisect_left(self._starts, start)

    def at_most(self, start: int, end: int, budget: int) -> bool:
        """Whether no more than `budget` pieces begin in [start, end). Nothing is tokenized for a range so short that
        it cannot hold more: a piece takes one byte of UTF-8 at least (the model's normaliser makes no more letters of
        a character than UTF-8 makes bytes), and between two words there is a byte that is no piece."""
        if self._counted is None and end - start <= 2 * budget:
            body = self._text[start:end]
            if len(body.encode("utf-8", "surrogatepass")) - max(len(body.split()) - 1, 0) <= budget:
                return True
        return self.count(start, end) <= budget

    def runs(self, start: int, end: int, budget: int) -> Iterator[tuple[int, int]]:
        """[start, end) in runs of at most `budget` pieces and max_chars, each cut before a word where one begins."""
        while start < end:
            index = bisect_left(self._starts, start) + budget
            stop = min(end, start + self._max_chars)
            if index < len(self._starts):
                stop = min(stop, self._starts[index])
            if stop < end:
                stop = self._word_border(start, stop)
            body = self._text[start:stop]
            if not body.isspace():
                yield start, start + len(body.rstrip())
            start = stop

    def tail(self, start: int, end: int, budget: int) -> int:
        """Where the last `budget` pieces of [start, end) begin, moved on to the next word's beginning; `end` when
        there is none."""
        first, last = bisect_left(self._starts, start), bisect_left(self._starts, end)
        for index in range(max(first, last - budget), last):
            at = self._starts[index]
            if at == start or not _joined(self._text, at):
                return at
        return end

    @property
    def _starts(self) -> array[int]:
        """Where pieces begin, in order; tokenized when it is first needed."""
        if self._counted is None:
            self._counted = array("Q")
            at = 0
            while at < len(self._text):
                end = self._window_end(at)
                self._counted.extend(at + start for start, stop in self._spans(self._text[at:end]) if stop > start)
                at = end
        return self._counted

    def _word_border(self, start: int, stop: int) -> int:
        """The last place in (start, stop] that parts two words; stop itself when a single word fills the run."""
        for at in range(stop, max(start, stop - self._max_chars), -1):
            if not _joined(self._text, at):
                return at
        return stop

    def _window_end(self, at: int) -> int:
        end = at + _WINDOW_CHARS
        if end >= len(self._text):
            return len(self._text)
        for border in range(end, at + _WINDOW_CHARS // 2, -1):
            if self._text[border].isspace():
                return border
        return end


def _joined(text: str, at: int) -> bool:
    """Whether text[at] continues the word of text[at - 1]."""
    return _letter(text[at - 1]) and _letter(text[at])


def _letter(character: str) -> bool:
    return character.isalnum() and not _ideograph(ord(character))


def _ideograph(code: int) -> bool:
    """CJK Unified Ideographs with their extensions and compatibility forms (Unicode 15 blocks), each of which is a
    word of its own to WordPiece."""
    return (
        0x4E00 <= code <= 0x9FFF or 0x3400 <= code <= 0x4DBF or 0xF900 <= code <= 0xFAFF or 0x20000 <= code <= 0x323AF
    )
