"""What a key may do. A test holds this list against the scopes that the contract's methods require."""

from __future__ import annotations

DATA_SCOPES = frozenset(
    {
        "collections:read",
        "collections:write",
        "documents:read",
        "documents:write",
        "jobs:read",
        "jobs:write",
        "query",
    }
)
"""What a key can do with its tenant's data; the default of a new key."""

KEYS_ADMIN = "keys:admin"
"""Make, list and revoke keys of its own tenant."""

TENANTS_ADMIN = "tenants:admin"
"""With keys:admin: make keys of any tenant."""

ALL_SCOPES = DATA_SCOPES | {KEYS_ADMIN, TENANTS_ADMIN}
