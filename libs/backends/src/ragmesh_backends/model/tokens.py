"""How words are counted for the entity graph and for question coverage. Ingestion and retrieval must agree, so
there is one definition."""

from __future__ import annotations

import re
import unicodedata

_WORD = re.compile(r"\w+", re.UNICODE)
_QUALIFIER = re.compile(r"\s*\([^()]*\)\s*$")

MAX_ENTITY_TOKENS = 8
"""Longer titles are sentences, not names."""


def words(text: str) -> tuple[str, ...]:
    """Lower-cased words in order, accents folded: `Élan vital` -> ("elan", "vital")."""
    if not text.isascii():  # most text is, and folding costs more than all the rest
        text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return tuple(_WORD.findall(text.lower().replace("_", " ")))


def entity_key(name: str) -> str | None:
    """The key under which a title or heading is an entity: its words joined by one blank, without a trailing
    qualifier in parentheses (`Mercury (planet)` -> `mercury`). None when it is empty, too long, or a number or a
    single letter, which names nothing."""
    tokens = words(_QUALIFIER.sub("", name)) or words(name)
    if not tokens or len(tokens) > MAX_ENTITY_TOKENS:
        return None
    key = " ".join(tokens)
    return None if len(key) < 2 or key.replace(" ", "").isdigit() else key
