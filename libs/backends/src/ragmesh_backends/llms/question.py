"""What a question asks for: its telling words, and the kind of answer that would fit."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from ragmesh_backends.model.tokens import words

# English, and words of other languages that mean nothing in English (so not `die`, `war` and `son`).
_STOP_WORDS = frozenset(
    words(
        "a an the of in on at to for from by with and or but if is are was were be been being am do does did doing "
        "done has have had having will would can could should shall may might must it its this that these those there "
        "here i you he she we they them his her their our your my me us what which who whom whose when where why how "
        "many much long often as than then so not no nor about into during very also just any some all each other such "
        "only own same too s t don now please tell explain describe give show called "
        "der das den dem des ein eine einer und oder ist sind im mit von zu auf wer wie wo wann warum welche "
        "le la les un une du de et ou est sont dans que qui quoi quand pourquoi comment el los las y o es en por "
        "qu para il lo gli e di da che chi cosa come dove quando perche"
    )
)
# Scripts that write words without blanks between them: their terms are pairs of neighbouring characters.
_UNSPACED = re.compile(r"[\u0E00-\u0EFF\u1000-\u109F\u1100-\u11FF\u1780-\u17FF\u2E80-\u9FFF\uA960-\uD7FF\uF900-\uFAFF]")
_RUNS = re.compile(rf"(?:{_UNSPACED.pattern})+|(?:(?!{_UNSPACED.pattern})\w)+")


def stem(word: str) -> str:
    """The word without the endings that English inflection adds: enough to let `stores`, `stored` and `storing`
    meet, and nothing cleverer. Short words are left alone."""
    if word.endswith("ied"):
        return word[:-3] + ("y" if len(word) > 4 else "ie")  # carried -> carry, died -> die
    if len(word) > 4:
        for ending, replacement in (("ies", "y"), ("sses", "ss"), ("ing", ""), ("edly", ""), ("ed", ""), ("ly", "")):
            if word.endswith(ending) and len(word) - len(ending) + len(replacement) >= 3:
                word = word[: -len(ending)] + replacement
                break
        else:
            if word.endswith("es") and word[-3] in "sxzh":
                word = word[:-2]
            elif word.endswith("s") and word[-2] not in "su":
                word = word[:-1]
        if len(word) > 3 and word[-1] == word[-2] and word[-1] in "bdgmnprt":
            word = word[:-1]  # stopped -> stopp -> stop
        return word.removesuffix("e") if len(word) > 3 else word
    return word[:-1] if len(word) == 4 and word.endswith("s") and word[-2] not in "su" else word


def terms(text: str) -> tuple[str, ...]:
    """The terms of a text in order, stop words left out: stems, or pairs of characters of unspaced scripts."""
    found: list[str] = []
    for word in words(text):
        if word in _STOP_WORDS:
            continue
        for run in _RUNS.findall(word):
            if _UNSPACED.match(run):
                found.extend(run[i : i + 2] for i in range(max(1, len(run) - 1)))
            else:
                found.append(stem(run))
    return tuple(found)


_YEAR_OR_DATE = re.compile(
    r"\b(?:1\d{3}|20\d{2})\b|\b\d{1,2}:\d{2}\b|\b(?:century|january|february|march|april|may \d|june|july|august|"
    r"september|october|november|december|every|daily|weekly|after|before|until|since)\b",
    re.IGNORECASE,
)
_NUMBER = re.compile(
    r"\d|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|twelve|dozen|hundred|thousand|million|none|unlimited)\b",
    re.IGNORECASE,
)
_NAME_INSIDE = re.compile(r"(?<=[a-z,] )[A-Z][\w'’-]+")
_PLACE = re.compile(r"\b(?:in|at|near|from|of|on|under)\s+(?:the\s+)?(?:[A-Z][\w-]+|[`/~.])")
_CAUSE = re.compile(r"\b(?:because|since|so that|due to|in order|therefore|as a result|otherwise|caused?)\b", re.I)
_STEP = re.compile(r"\b(?:by|run|use|set|add|call|install|start|open|click|with|through|first|then)\b", re.IGNORECASE)
_DEFINES = re.compile(r"^[^,.;]{1,60}\b(?:is|are|was|were|means|refers to|stands for)\s+(?:an?|the|one)?\b", re.I)

_ASKS_HOW_MUCH = r"\bhow (?:many|much|long|large|big|old|far|often|high|fast)\b|\bnumber of\b"
_HINTS: tuple[tuple[re.Pattern[str], Callable[[str], bool]], ...] = tuple(
    (re.compile(asks, re.IGNORECASE), fits)
    for asks, fits in (
        (
            r"\bhow (?:many|much|long|large|big|old|far|often|high|fast)\b|\bnumber of\b",
            lambda s: bool(_NUMBER.search(s)),
        ),
        (r"\bwhen\b|\bwhat (?:year|date|time|day)\b|\bwhich year\b", lambda s: bool(_YEAR_OR_DATE.search(s))),
        (r"\bwho(?:m|se)?\b", lambda s: bool(_NAME_INSIDE.search(s))),
        (r"\bwhere\b|\bwhich (?:city|country|place|file|folder)\b", lambda s: bool(_PLACE.search(s))),
        (r"\bwhy\b", lambda s: bool(_CAUSE.search(s))),
        (r"\bhow (?:do|does|can|to|should|is|are)\b", lambda s: bool(_STEP.search(s))),
        (r"^\s*what(?:'s| is| are| was| were)\b|\bdefine\b|\bmeaning of\b", lambda s: bool(_DEFINES.search(s))),
    )
)


@dataclass(frozen=True, slots=True)
class Question:
    """text as it was asked; terms without repetition, in order."""

    text: str
    terms: tuple[str, ...]

    @classmethod
    def read(cls, text: str) -> Question:
        found = terms(text)
        return cls(text, tuple(dict.fromkeys(found or (stem(w) for w in words(text)))))

    def fits(self, sentence: str) -> bool:
        """Whether the sentence looks like an answer of the kind that is asked for (a number, a date, a name, a
        place, a cause, a step, a definition). False for questions that ask for nothing in particular."""
        for asks, answers in _HINTS:
            if asks.search(self.text):
                return answers(sentence)
        return False
