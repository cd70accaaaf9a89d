"""What is in a backup, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.filesize import decimal

SHOWN = 3
"""Documents named in one sentence."""


def contents(found: Mapping[str, Any]) -> str:
    """`2 collections, 14 documents (1 waiting), 40 chunks, 3 keys`."""
    collections = found["collections"]
    documents = sum(one["documents"] for one in collections)
    waiting = sum(one["states"].get("PENDING", 0) for one in collections)
    failed = sum(one["states"].get("FAILED", 0) for one in collections)
    notes = [f"{count} {what}" for count, what in ((waiting, "waiting"), (failed, "failed")) if count]
    return ", ".join(
        [
            counted(len(collections), "collection"),
            counted(documents, "document") + (f" ({', '.join(notes)})" if notes else ""),
            counted(sum(one["chunks"] for one in collections), "chunk"),
            counted(found["keys"], "key"),
        ]
    )


def counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def size(found: Mapping[str, Any]) -> str:
    return decimal(found["bytes"])


def unsettled(found: Mapping[str, Any]) -> list[str]:
    """What is to be said of each collection in which some documents never held still."""
    return [
        f"{one['collection_id']} of {one['tenant']}: {_unsettled(one['left_out'])}"
        for one in found["collections"]
        if not one["settled"]
    ]


def _unsettled(left_out: Sequence[str]) -> str:
    if not left_out:
        return "some documents changed all the time and are in it as they were copied last"
    names = ", ".join(f"`{one}`" for one in left_out[:SHOWN]) + (", ..." if len(left_out) > SHOWN else "")
    verb = "is" if len(left_out) == 1 else "are"
    return f"{counted(len(left_out), 'document')} changed all the time and {verb} NOT in it: {names}"


def left_out(found: Mapping[str, Any]) -> int:
    """How many documents were there and are not in the backup."""
    return sum(len(one["left_out"]) for one in found["collections"])
