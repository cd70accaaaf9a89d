"""The form of a key: `rag_live_<id>_<secret>_<crc>`.

id: 12 characters, public, the record's key. secret: 43 base62 characters, 256 bits. crc: CRC-32 of all before it as 6
base62 characters, so that a typo is refused without a look-up and secret scanners can tell a real key. Only the
SHA-256 of the secret is stored; with 256 random bits a slow password hash adds nothing.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import zlib
from dataclasses import dataclass

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_KEY = re.compile(r"(rag_live_([0-9A-Za-z]{12})_([0-9A-Za-z]{43}))_([0-9A-Za-z]{6})", re.ASCII)


@dataclass(frozen=True, slots=True)
class ParsedKey:
    key_id: str
    secret_sha256: str


def new_key() -> str:
    """A fresh random key."""
    key_id = "".join(secrets.choice(_ALPHABET) for _ in range(12))
    secret = "".join(secrets.choice(_ALPHABET) for _ in range(43))
    body = f"rag_live_{key_id}_{secret}"
    return f"{body}_{_checksum(body)}"


def parse(key: str) -> ParsedKey | None:
    """The parts of a key, or None when it is not one."""
    match = _KEY.fullmatch(key)
    if match is None or _checksum(match[1]) != match[4]:
        return None
    return ParsedKey(match[2], hashlib.sha256(match[3].encode()).hexdigest())


def _checksum(body: str) -> str:
    value, text = zlib.crc32(body.encode()), ""
    for _ in range(6):
        value, digit = divmod(value, 62)
        text = _ALPHABET[digit] + text
    return text
