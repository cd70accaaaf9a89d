"""Which sentences of the passages answer a question: scoring and choosing, pure and deterministic.

A sentence scores the share of the question's idf that it covers, words of its title and heading and of the
sentence before it counting in part (a passage titled "Redis" that says "It is started by ..." is about Redis), and
then small bonuses: words of the question standing together, the right kind of answer, the passage's rank.
The choice is greedy: the next sentence is the one that adds most that is new and repeats least.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from ragmesh_backends.llms.question import Question, terms
from ragmesh_backends.model.generation import Passage
from ragmesh_backends.model.sentences import MARK, sentences

# Set by judgement and read over on MuSiQue's questions and on the project's documents; only MIN_COVERAGE and
# ADDITION_FLOOR were swept.
TITLE_WEIGHT = 0.45
PREVIOUS_WEIGHT = 0.3
REFERRING_WEIGHT = 0.8
"""For both of these when the sentence begins with a word that points back: `He died in Penzance.`"""

PROXIMITY_BONUS = 0.1
KIND_BONUS = 0.15
RANK_BONUS = 0.25
NOVELTY_WEIGHT = 0.6
REDUNDANCY_WEIGHT = 0.7

MIN_COVERAGE = 0.25
"""The share of the question's idf that the best sentence must cover, context included; less is no answer.
On MuSiQue (100 questions, gold and six other passages; then eight others only): .15 refused 3 and answered 17 of
those without gold, .25 refused 28 and answered 4, .30 refused 47 and answered 2."""

ADDITION_FLOOR = 0.6
"""A further sentence must be worth at least this share of the first one's score."""

TOO_MUCH_ALIKE = 0.7
"""The share of its words that a further sentence may have in common with one that is chosen."""

MAX_SENTENCE_WORDS = 70
MAX_EVIDENCE = 64
"""Sentences that the choice looks at; it compares them with each other, so their number is bounded."""

REMEMBERED_PASSAGES = 1024
"""Passages whose sentences are kept, some 5 kB each: finding them takes most of the time of an answer."""

MIN_FRAGMENT_WORDS = 6
"""A line without a final stop and with fewer words is a heading or a label, not a sentence."""

_BACK = re.compile(r"(?:He|She|It|They|His|Her|Its|Their|This|These|Those|That|Both)\b")
_EMPHASISED = re.compile(r"(\*\*|__)[^*_]+\1[.:]?")
_CODE = re.compile(r"(?<!`)`[^`\n]+`(?!`)")
_LINK = re.compile(r"!?\[([^\[\]\n]{1,200})\]\([^()\s]{1,500}\)")
_MARK = re.compile(MARK)
_ATTACHED_MARK = re.compile(rf"(?<=\w){MARK}")
_LOOSE_MARK = re.compile(rf"\s?{MARK}")
_FINAL = re.compile(r"[.!?…。！？｡।॥؟۔:]['\"”’»)\]」』）*_]*$")


@dataclass(frozen=True, slots=True)
class Evidence:
    """A sentence of one passage, made fit to be quoted. position: its place among the passage's sentences."""

    passage: Passage
    position: int
    text: str
    score: float
    covered: frozenset[str]  # terms of the question in the sentence or its context
    vocabulary: frozenset[str]


def quotable(text: str) -> str:
    """The sentence as it can stand in an answer: on one line, links reduced to their text, without emphasis, and
    with nothing in it that reads as a citation mark (`[3]` of the source would name the wrong passage; `rows[1]`
    becomes `rows(1)`) or opens a code span that does not end."""
    text = " ".join(_LINK.sub(r"\1", text).split())
    pieces, at = [], 0
    for code in _CODE.finditer(text):
        pieces += [_without_marks(text[at : code.start()]), code[0]]
        at = code.end()
    pieces.append(_without_marks(text[at:]))
    return "".join(pieces).strip()


def _without_marks(text: str) -> str:
    text = text.replace("`", "").replace("**", "").replace("__", "")
    while _MARK.search(text):  # taking one away may join the halves of another
        text = _LOOSE_MARK.sub("", _ATTACHED_MARK.sub(lambda m: f"({m[0][1:-1]})", text))
    return text


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sentence that could be quoted, with its terms: its own, those of title and heading, those just before it."""

    passage: Passage
    position: int
    text: str
    own: tuple[str, ...]
    context: frozenset[str]
    previous: frozenset[str]
    refers_back: bool = False


def candidates(passage: Passage) -> list[Candidate]:
    """The sentences of a passage that can be quoted, in order. Labels, questions and overlong ones cannot."""
    return [Candidate(passage, *read) for read in _read(passage.title, passage.text)]


_Read = tuple[int, str, tuple[str, ...], frozenset[str], frozenset[str], bool]
"""A Candidate but for its passage."""


@lru_cache(maxsize=REMEMBERED_PASSAGES)
def _read(title_text: str, text_of_passage: str) -> tuple[_Read, ...]:
    found: list[_Read] = []
    title = frozenset(terms(title_text))
    previous: frozenset[str] = frozenset()
    for position, sentence in enumerate(sentences(text_of_passage)):
        text = quotable(sentence.text)
        own = terms(text)
        length = len(text.split())
        whole = bool(_FINAL.search(text)) or sentence.item or length >= MIN_FRAGMENT_WORDS
        label = len(own) < 2 or _EMPHASISED.fullmatch(sentence.text) or text.endswith((":", "?"))
        if whole and not label and length <= MAX_SENTENCE_WORDS:
            context = title | frozenset(terms(sentence.heading))
            found.append((position, text, own, context, previous, bool(_BACK.match(text))))
        previous = frozenset(own)
    return tuple(found)


def weigh(question: Question, found: Sequence[Candidate]) -> tuple[list[Evidence], dict[str, float]]:
    """The best candidates with their scores, best first (ties as the passages stand), and the idf of each question
    term, taken over all candidates (a term that none holds has the highest)."""
    counts = Counter(t for c in found for t in {*c.own} & {*question.terms})
    total = len(found)
    idf = {t: math.log(1 + (total - counts[t] + 0.5) / (counts[t] + 0.5)) for t in question.terms}
    whole = sum(idf.values()) or 1.0
    evidence = []
    for c in found:
        own = frozenset(c.own)
        held, inherited, before = 0.0, 0.0, 0.0
        of_title, of_previous = (REFERRING_WEIGHT,) * 2 if c.refers_back else (TITLE_WEIGHT, PREVIOUS_WEIGHT)
        for term, weight in idf.items():
            if term in own:
                held += weight
            elif term in c.context:
                inherited += weight * of_title
            elif term in c.previous:
                before += weight * of_previous
        coverage = (held + inherited + before) / whole
        if held or (inherited and c.position == 0):
            together = PROXIMITY_BONUS * _proximity(c.own, idf) * held / whole
            kind = KIND_BONUS * coverage if question.fits(c.text) else 0.0
            rank = 1 + RANK_BONUS / c.passage.number
            covered = frozenset(t for t in idf if t in own or t in c.context)
            score = (coverage + together + kind) * rank
            evidence.append(Evidence(c.passage, c.position, c.text, score, covered, own))
    evidence.sort(key=lambda e: (-e.score, e.passage.number, e.position))
    return evidence[:MAX_EVIDENCE], idf


def _proximity(own: Sequence[str], idf: dict[str, float]) -> float:
    """0 to 1: how densely the question's terms stand between the first and the last of them; 0 for a single one."""
    places = [i for i, term in enumerate(own) if term in idf]
    if len({own[i] for i in places}) < 2:
        return 0.0
    return len(places) / (places[-1] - places[0] + 1)


def choose(evidence: Sequence[Evidence], idf: dict[str, float], *, most: int) -> list[Evidence]:
    """The best sentence, then up to `most` - 1 that add to it; empty when none supports an answer. The order is the
    order of choice."""
    whole = sum(idf.values()) or 1.0
    left = list(evidence)
    chosen: list[Evidence] = []
    covered: set[str] = set()

    def repeats(e: Evidence) -> float:
        return max((_overlap(e.vocabulary, c.vocabulary) for c in chosen), default=0.0)

    def worth(e: Evidence) -> tuple[float, int, int]:
        new = sum(idf[t] for t in e.covered - covered) / whole
        gain = e.score * (1 - REDUNDANCY_WEIGHT * repeats(e)) + (NOVELTY_WEIGHT * new if chosen else 0.0)
        return gain, -e.passage.number, -e.position

    while left and len(chosen) < most:
        best = max(left, key=worth)
        left.remove(best)
        if not chosen:
            if sum(idf[t] for t in best.covered) / whole < MIN_COVERAGE:
                return []
        elif repeats(best) > TOO_MUCH_ALIKE or worth(best)[0] < ADDITION_FLOOR * chosen[0].score:
            continue
        chosen.append(best)
        covered |= best.covered
    return chosen


def readable_order(chosen: Sequence[Evidence]) -> list[Evidence]:
    """By passage, the one of the best sentence first, and inside a passage as the author wrote them."""
    first_seen = {number: i for i, number in reversed(list(enumerate(e.passage.number for e in chosen)))}
    return sorted(chosen, key=lambda e: (first_seen[e.passage.number], e.position))


def _overlap(one: frozenset[str], other: frozenset[str]) -> float:
    """The share of the smaller one's words that the other holds too."""
    return len(one & other) / max(1, min(len(one), len(other)))
