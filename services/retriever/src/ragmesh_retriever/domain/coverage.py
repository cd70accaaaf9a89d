"""Which words of the question a passage holds, and how much each of them tells.

A set of passages answers a question when together they hold its words. Words are compared by their first six
letters (truncation stands in for stemming in every language that is written with letters; 5 and 6 measure alike,
no truncation loses .8 points of nDCG on SciFact). A word's weight is its inverse document frequency among the
candidates: what tells candidates apart, whatever the size of the corpus, and no store has to be asked for it. Words
that every candidate holds, stop words among them, weigh almost nothing; a word that none holds cannot be covered and
is not counted.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ragmesh_backends.model.document import Chunk
from ragmesh_backends.model.tokens import words

PREFIX_LETTERS = 6
REMEMBERED_TEXTS = 4096
"""Texts and titles whose words are kept: a question over 150 candidates takes .4 ms with them, 2.5 without. About
3 kB each. By the text itself, so nobody sees more than what the store gave them."""

MAX_TERMS = 64
"""Distinct words of a question that are looked at; the rest of a longer one is left to the legs."""


class _Folding(dict[int, str]):
    """What becomes of a character: its letters and digits without accents, a blank for everything else. Filled as
    characters are met (str.translate asks for each), so bounded by the alphabets in use."""

    def __missing__(self, code: int) -> str:
        bare = (c for c in unicodedata.normalize("NFKD", chr(code)) if not unicodedata.combining(c))
        folded = self[code] = "".join(c if c.isalnum() else " " for c in bare)
        return folded


_FOLDING = _Folding()
_FOREIGN = re.compile("[^\x00-\x7f]+")
_ASCII = bytes(ord(chr(code).lower()) if chr(code).isalnum() else 32 for code in range(128)) + bytes(128)


def fold(text: str) -> str:
    """The words of `text` as tokens.words() finds them, with blanks between and around. It takes about a fifth of the
    time, because it runs for every candidate of every question: what is ASCII but for a few signs goes by bytes."""
    if not text.isascii():
        text = _FOREIGN.sub(lambda run: run.group().translate(_FOLDING), text)
    if text.isascii():
        return f" {text.encode('ascii').translate(_ASCII).decode('ascii')} "
    return f" {text.translate(_FOLDING).lower()} "


def terms_of(question: str) -> tuple[str, ...]:
    """The first letters of its words; distinct, in order."""
    return tuple(dict.fromkeys(word[:PREFIX_LETTERS] for word in words(question)))[:MAX_TERMS]


@lru_cache(maxsize=REMEMBERED_TEXTS)
def stems_of(text: str) -> frozenset[str]:
    """The first letters of the words of a text. Interned: most texts share most of them."""
    return frozenset([sys.intern(word[:PREFIX_LETTERS]) for word in fold(text).split()])


def _holds(text: str, terms: Sequence[str]) -> list[bool]:
    stems = stems_of(text)
    return [term in stems for term in terms]


@dataclass(frozen=True, slots=True)
class Coverage:
    """held, in_title: (n, terms) of 0 and 1; weight: (terms,), summing to 1 unless no word tells anything."""

    terms: tuple[str, ...]
    held: NDArray[np.float64]
    in_title: NDArray[np.float64]
    weight: NDArray[np.float64]

    def weight_of_name(self, key: str) -> float:
        """How telling an entity named in the question is, 0..1: its most telling word by the question's most telling
        one. It keeps titles such as `It` or `Who` from being taken for what the question is about."""
        top = float(self.weight.max(initial=0.0))
        if top <= 0.0:
            return 0.0
        by_term = dict(zip(self.terms, self.weight.tolist(), strict=True))
        return max((by_term.get(term, 0.0) for term in terms_of(key)), default=0.0) / top


def measure(question: str, chunks: Sequence[Chunk], counted: int) -> Coverage:
    """The coverage of `chunks`; the first `counted` of them (the legs' own candidates) decide the weights, so that
    neighbours that join later do not change what a word is worth."""
    terms = terms_of(question)
    titles = [" ".join((c.title, *c.heading_path)) for c in chunks]
    shape = (len(chunks), len(terms))
    in_title = np.array([_holds(t, terms) for t in titles], dtype=np.float64).reshape(shape)
    in_text = np.array([_holds(c.text, terms) for c in chunks], dtype=np.float64).reshape(shape)
    held = np.maximum(in_text, in_title)
    return Coverage(terms, held, in_title, _weights(held[:counted]))


def _weights(held: NDArray[np.float64]) -> NDArray[np.float64]:
    """The idf of BM25 (Robertson and Sparck Jones, the form that never is negative), normalised to sum to 1."""
    frequency = held.sum(axis=0)
    idf = np.log1p((len(held) - frequency + 0.5) / (frequency + 0.5))
    idf[frequency == 0] = 0.0
    total = float(idf.sum())
    weights: NDArray[np.float64] = idf / total if total > 0.0 else idf
    return weights
