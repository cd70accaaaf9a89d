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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ragmesh_backends.llms.question import Question, terms
from ragmesh_backends.model.generation import Passage
from ragmesh_backends.model.sentences import MARK, sentences

# Weights found by hand on the questions of MuSiQue and on the project's own documents, then left alone.
TITLE_WEIGHT = 0.45
PREVIOUS_WEIGHT = 0.3
PROXIMITY_BONUS = 0.1
KIND_BONUS = 0.15
RANK_BONUS = 0.25
NOVELTY_WEIGHT = 0.6
REDUNDANCY_WEIGHT = 0.7

MIN_COVERAGE = 0.25
"""The share of the question's idf that the best sentence must cover, context included; less is no answer."""

MAX_SENTENCE_WORDS = 70
MIN_FRAGMENT_WORDS = 6
"""A line without a final stop and with fewer words is a heading or a label, not a sentence."""

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
    """The sentence as it can stand in an answer: on one line, links reduced to their text, and nothing in it that
    reads as a citation mark (`[3]` of the source would name the wrong passage; `rows[1]` becomes `rows(1)`) or
    opens a code span that does not end."""
    text = " ".join(_LINK.sub(r"\1", text).split())
    pieces, at = [], 0
    for code in _CODE.finditer(text):
        pieces += [_without_marks(text[at : code.start()]), code[0]]
        at = code.end()
    pieces.append(_without_marks(text[at:]))
    return "".join(pieces).strip()


def _without_marks(text: str) -> str:
    text = text.replace("`", "")
    while _MARK.search(text):  # taking one away may join the halves of another
        text = _LOOSE_MARK.sub("", _ATTACHED_MARK.sub(lambda m: f"({m[0][1:-1]})", text))
    return text


@dataclass(frozen=True, slots=True)
class _Candidate:
    passage: Passage
    position: int
    text: str
    own: tuple[str, ...]
    context: frozenset[str]
    previous: frozenset[str]


def _candidates(passage: Passage) -> Iterator[_Candidate]:
    title = frozenset(terms(passage.title))
    previous: frozenset[str] = frozenset()
    for position, sentence in enumerate(sentences(passage.text)):
        text = quotable(sentence.text)
        own = terms(text)
        length = len(text.split())
        whole = bool(_FINAL.search(text)) or sentence.item or length >= MIN_FRAGMENT_WORDS
        if own and whole and length <= MAX_SENTENCE_WORDS and not text.endswith((":", "?")):
            yield _Candidate(passage, position, text, own, title | frozenset(terms(sentence.heading)), previous)
        previous = frozenset(own)


def weigh(question: Question, passages: Sequence[Passage]) -> tuple[list[Evidence], dict[str, float]]:
    """All candidate sentences with their scores, in the order of the passages, and the idf of each question term,
    taken over the candidates (a term that none holds has the highest)."""
    candidates = [c for passage in passages for c in _candidates(passage)]
    counts = Counter(t for c in candidates for t in {*c.own} & {*question.terms})
    total = len(candidates)
    idf = {t: math.log(1 + (total - counts[t] + 0.5) / (counts[t] + 0.5)) for t in question.terms}
    whole = sum(idf.values()) or 1.0
    evidence = []
    for c in candidates:
        own = frozenset(c.own)
        held, inherited, before = 0.0, 0.0, 0.0
        for term, weight in idf.items():
            if term in own:
                held += weight
            elif term in c.context:
                inherited += weight * TITLE_WEIGHT
            elif term in c.previous:
                before += weight * PREVIOUS_WEIGHT
        coverage = (held + inherited + before) / whole
        if held or (inherited and c.position == 0):
            together = PROXIMITY_BONUS * _proximity(c.own, idf) * held / whole
            kind = KIND_BONUS * coverage if question.fits(c.text) else 0.0
            rank = 1 + RANK_BONUS / c.passage.number
            covered = frozenset(t for t in idf if t in own or t in c.context)
            score = (coverage + together + kind) * rank
            evidence.append(Evidence(c.passage, c.position, c.text, score, covered, own))
    return evidence, idf


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
        elif (
            worth(best)[0] < 0.5 * chosen[0].score or max(_overlap(best.vocabulary, c.vocabulary) for c in chosen) > 0.7
        ):
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
