"""Citation marks in a text that arrives in pieces.

What is a mark: `[1]`, `[1, 2]`, `[1;2]`: up to eight numbers of one to three digits without leading zero. It leaves
as `[1][2]`, one citation each. A number that no supplied passage has is taken out of the text, with the blank
before the mark when nothing of it is left.

What is not a mark, and passes untouched: `[a]`, `[0]`, `[1998]`, `[1-3]`, `[ 1 ]`, and anything inside a code span
or code block (backticks), where `rows[1]` is an index. Outside code `Paris[1]` is a mark, for models often leave the
blank out; prose that means an index writes it as code.

Only what may still become a mark is held back: a blank, and a bracket with digits after it, 48 characters at most.
The result does not depend on where the pieces were cut.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from ragmesh_backends.model.sentences import MARK
from ragmesh_generator.domain.events import Citation, Token

_MARK = re.compile(rf"( ?)({MARK})")
_NUMBER = re.compile(r"[0-9]+")
_N = r"[1-9][0-9]{0,2}"
_MAY_BECOME_MARK = re.compile(rf" ?(?:\[(?:{_N}(?:[,;] ?{_N}){{0,7}}(?:[,;] ?)?)?)?\Z")
_SPECIAL = re.compile(r"[ \[`\n]")
_OPEN_BRACKET = re.compile(r"\[[0-9,; ]*\Z")
_LONGEST_MARK = 48


class CitationParser:
    """Feed it the model's text; it gives back Token and Citation events. Not to be used again after `finish`.

    supplied: chunk ids by passage number. dropped: cited numbers so far that are not
    among them. Citation offsets count the code points of all Token texts so far.
    """

    def __init__(self, supplied: Mapping[int, str]) -> None:
        self.dropped = 0
        self._supplied = dict(supplied)
        self._held = ""
        self._length = 0
        self._tail = ""  # the last characters that went out
        self._code = 0  # backticks that opened the code we are in; 0 outside
        self._run = 0  # backticks in a row just before the next character

    def feed(self, piece: str) -> Iterator[Token | Citation]:
        """Everything that is certain after this piece: at most one Token, then the citations of its marks."""
        yield from self._read(self._held + piece, final=False)

    def finish(self) -> Iterator[Token | Citation]:
        """What was held back, which no longer can become a mark."""
        yield from self._read(self._held, final=True)

    def _read(self, text: str, *, final: bool) -> Iterator[Token | Citation]:
        out: list[str] = []
        cited: list[Citation] = []
        at = 0
        self._held = ""
        while at < len(text):
            special = _SPECIAL.search(text, at)
            plain = special.start() if special else len(text)
            if plain > at:
                self._end_run()
                self._put(out, text[at:plain])
            if special is None:
                break
            at = plain
            character = text[at]
            if character == "`":
                self._run += 1
                self._put(out, character)
                at += 1
                continue
            self._end_run()
            if character == "\n" and self._code < 3:
                self._code = 0  # a span ends with its line, so that one stray backtick cannot hide what follows
            if character == "\n" or self._code:
                self._put(out, character)
                at += 1
            elif mark := _MARK.match(text, at):
                cited += self._mark(out, mark[1], mark[2])
                at = mark.end()
            elif not final and len(text) - at <= _LONGEST_MARK and _MAY_BECOME_MARK.match(text, at):
                self._held = text[at:]
                break
            else:
                self._put(out, character)
                at += 1
        if out:
            yield Token("".join(out))
        yield from cited

    def _mark(self, out: list[str], blank: str, mark: str) -> list[Citation]:
        cited: list[Citation] = []
        for number in dict.fromkeys(int(n) for n in _NUMBER.findall(mark)):
            if number not in self._supplied:
                self.dropped += 1
                continue
            self._put(out, f"{'' if cited else blank}[{number}]")
            start = self._length - len(f"[{number}]")
            cited.append(Citation(number, self._supplied[number], start, self._length))
        if not cited and _OPEN_BRACKET.search(self._tail):
            self._put(out, "?")  # `[1[9]2]`: without it the halves would join to a mark that nobody checked
        return cited

    def _put(self, out: list[str], text: str) -> None:
        out.append(text)
        self._length += len(text)
        self._tail = (self._tail + text)[-_LONGEST_MARK:]

    def _end_run(self) -> None:
        """A run of backticks has ended: it opens code, closes code that as many opened, or is text inside it."""
        if self._run:
            if not self._code:
                self._code = self._run
            elif self._run == self._code or (self._code >= 3 and self._run >= self._code):
                self._code = 0
        self._run = 0
