"""Milvus filter expressions as a small typed tree, and their text.

milvus-lite 2.5 hangs on filter templates, so a filter is sent as text; a tree that renders itself is what keeps
text of a caller out of the grammar. milvus-lite needs a blank on either side of an operator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


def literal(value: str | int) -> str:
    """A constant of the grammar. Raises ValueError for control characters: milvus-lite and Milvus read their
    escapes differently, so nothing that holds one may be compared (ids are compared by their keys: see keys.py)."""
    if isinstance(value, int):
        return str(value)
    if any(ord(character) < 0x20 or ord(character) == 0x7F for character in value):
        raise ValueError("a control character cannot stand in a filter")
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


@dataclass(frozen=True, slots=True)
class OneOf:
    """The field equals one of the values; no values: never."""

    field: str
    values: Sequence[str | int]

    def __str__(self) -> str:
        return f"{self.field} in [{', '.join(literal(value) for value in self.values)}]"


@dataclass(frozen=True, slots=True)
class SharesOne:
    """The array field holds at least one of the values."""

    field: str
    values: Sequence[str]

    def __str__(self) -> str:
        return f"array_contains_any({self.field}, [{', '.join(literal(value) for value in self.values)}])"


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every part holds."""

    parts: Sequence[Expression]

    def __str__(self) -> str:
        return " and ".join(f"({part})" for part in self.parts)


Expression = OneOf | SharesOne | AllOf
