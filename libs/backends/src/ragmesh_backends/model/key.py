"""API keys as the gateway keeps them: never the secret, only its hash."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """One key of one tenant. key_id is the public part of `rag_live_<id>_<secret>_<crc>`; secret_sha256 is the
    SHA-256 of the secret part in lower-case hexadecimal. All times are UTC."""

    key_id: str
    tenant: str
    principal: str
    name: str
    scopes: frozenset[str]
    groups: tuple[str, ...]
    secret_sha256: str
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
