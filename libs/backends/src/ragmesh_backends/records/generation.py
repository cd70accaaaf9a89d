"""The mark that every write to a collection replaces."""

from __future__ import annotations

import secrets


def new_generation() -> str:
    """16 random hexadecimal digits: a counter would revive answers that were cached before a restore."""
    return secrets.token_hex(8)
