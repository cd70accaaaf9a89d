"""Page tokens: opaque, and good only for the tenant and the request that they were issued for.

A token is the cursor and an HMAC-SHA-256 over cursor, tenant, method and the request's other fields, so that a client
can neither make one up nor use one elsewhere. Tokens outlive a restart as long as the secret does.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

from ragmesh_servicekit.errors import InvalidArgument

_MAC_BYTES = 16


class PageTokens:
    """Issues and reads page tokens under one secret."""

    def __init__(self, secret: bytes) -> None:
        self._key = hashlib.sha256(b"ragmesh page tokens" + secret).digest()

    def issue(self, cursor: str, tenant: str, *request: str) -> str:
        """The token behind which the page after `cursor` starts. `request` is what must not change between pages: the
        method and its filters."""
        return base64.urlsafe_b64encode(self._mac(cursor, tenant, request) + cursor.encode()).decode().rstrip("=")

    def read(self, token: str, tenant: str, *request: str) -> str:
        """The cursor of a token, "" for the empty one. Raises InvalidArgument for a token of another request."""
        if not token:
            return ""
        try:
            raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
            cursor = raw[_MAC_BYTES:].decode()
        except (binascii.Error, ValueError):
            raw, cursor = b"", ""
        if not hmac.compare_digest(raw[:_MAC_BYTES], self._mac(cursor, tenant, request)):
            raise InvalidArgument.field("page_token", "is not a token of this request; start again without it")
        return cursor

    def _mac(self, cursor: str, tenant: str, request: tuple[str, ...]) -> bytes:
        parts = (cursor, tenant, *request)
        text = "".join(f"{len(part)}:{part}" for part in parts)
        return hmac.digest(self._key, text.encode(), "sha256")[:_MAC_BYTES]
