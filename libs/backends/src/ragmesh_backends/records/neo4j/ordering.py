"""Keys whose order is the order of the ids' code points, in whatever way a database compares strings.

Neo4j orders the entries of an index by code point, but values that it sorts or compares in memory by UTF-16 unit
(seen with 5.26: `'\\uE000' > '\\U00010000'` holds), so that pages of ids outside the BMP would skip or repeat some,
depending on the plan. A key holds no surrogate, so both orders agree.
"""

from __future__ import annotations

_ESCAPE = "\ud7ff"
_PLAIN = 0xD7FF  # code points below it stand for themselves; no ordinary text reaches it but CJK compatibility forms


def ordered(text: str) -> str:
    """A key for `text`: different for different texts, and sorted as Python and SQLite sort the texts. A code point c
    from U+D7FF on becomes U+D7FF and the two characters c >> 12 and c & 0xFFF, which lie below it."""
    if not text or max(text) < _ESCAPE:
        return text
    return "".join(
        character if ord(character) < _PLAIN else f"{_ESCAPE}{chr(ord(character) >> 12)}{chr(ord(character) & 0xFFF)}"
        for character in text
    )
