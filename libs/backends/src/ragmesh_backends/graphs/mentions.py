"""Which entities a chunk mentions: a pure rule that every graph store shares.

An entity occurs where its key's tokens are a run of the chunk's tokens. An occurrence inside an occurrence of a
longer name does not count ("new york city" does not mention "new york"); two that merely overlap both count. What
the chunk is itself about covers other names, but is not mentioned. Entities that occur in very many chunks (hubs)
are left out before the rule is applied, by the caller. The result depends on the set of entities only, not on the
order in which chunks arrive, because nothing in it is greedy.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

MAX_MENTIONS_PER_CHUNK = 64
"""The first so many distinct names, by place, are kept: a chunk that names more is an index or a table."""


@dataclass(frozen=True, slots=True)
class Entity:
    """An entity as the matcher sees it. key is the store's own; occurrences: chunks of the index in which its name
    stands, covered or not."""

    key: int
    tokens: tuple[str, ...]
    occurrences: int


def heads(tokens: Sequence[str]) -> set[str]:
    """What entities are looked up by: each token (names of one word) and each pair of neighbours (the beginning of
    longer names). A pair is far rarer than a word, so that few names are fetched in vain."""
    found = set(tokens)
    found.update(map(" ".join, pairwise(tokens)))
    return found


def head(name: str) -> str:
    """The head under which an entity is found: its first two words, or its only one."""
    return " ".join(name.split(" ", 2)[:2])


Known = dict[str, dict[str, list[Entity]]]
"""Entities by the first and the second word of their head; the second is empty for names of one word. Looking for
them makes no string for each pair of neighbours."""


def occurrences(tokens: Sequence[str], known: Known) -> Iterator[tuple[int, Entity]]:
    """Every occurrence of every known entity as (start, entity), by start."""
    for start, token in enumerate(tokens):
        following = known.get(token)
        if following is None:
            continue
        for entity in following.get("", ()):
            yield start, entity
        for entity in following.get(tokens[start + 1], ()) if start + 1 < len(tokens) else ():
            if tuple(tokens[start : start + len(entity.tokens)]) == entity.tokens:
                yield start, entity


def mentioned(found: Sequence[tuple[int, Entity]], about: Collection[int]) -> list[Entity]:
    """The entities of `found` (without hubs) that are mentioned, by first place, at most MAX_MENTIONS_PER_CHUNK.
    about: keys of the entities that the chunk is about."""
    covered_to = 0
    kept: dict[int, Entity] = {}
    for start, entity in sorted(found, key=lambda hit: (hit[0], -len(hit[1].tokens))):
        end = start + len(entity.tokens)
        if end <= covered_to:
            continue
        covered_to = end
        if entity.key not in about:
            kept.setdefault(entity.key, entity)
    return list(kept.values())[:MAX_MENTIONS_PER_CHUNK]
