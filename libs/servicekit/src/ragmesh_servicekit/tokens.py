"""Identity tokens: what the gateway vouches for, signed for one inner service and 60 seconds.

JWT with HS256 and a key id; the first key of the set signs, all of them verify, so that keys rotate by adding a new
one everywhere before it becomes the first.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping

import jwt

from ragmesh_servicekit.errors import Reason, Unauthenticated
from ragmesh_servicekit.identity import Identity

LIFE_SECONDS = 60
LEEWAY_SECONDS = 5
METADATA_KEY = "x-ragmesh-identity"
_CACHE = 1024


class TokenMinter:
    """Signs tokens. now: wall clock in seconds."""

    def __init__(self, keys: Mapping[str, bytes], now: Callable[[], float] = time.time) -> None:
        self._key_id, self._key = next(iter(keys.items()))
        self._now = now

    def mint(self, identity: Identity, audience: str) -> str:
        """A token for `audience`, the name of an inner service."""
        now = int(self._now())
        claims = {
            "tenant": identity.tenant,
            "sub": identity.principal,
            "groups": list(identity.groups),
            "scopes": sorted(identity.scopes),
            "rid": identity.request_id,
            "aud": audience,
            "iat": now,
            "exp": now + LIFE_SECONDS,
        }
        return jwt.encode(claims, self._key, algorithm="HS256", headers={"kid": self._key_id})


class TokenVerifier:
    """Verifies tokens for one audience. A token that was seen is remembered until it expires, at most 1,024 of them."""

    def __init__(self, keys: Mapping[str, bytes], audience: str, now: Callable[[], float] = time.time) -> None:
        self._keys = dict(keys)
        self._audience = audience
        self._now = now
        self._seen: OrderedDict[str, tuple[Identity, float]] = OrderedDict()

    def verify(self, token: str) -> Identity:
        """The identity. Raises Unauthenticated, IDENTITY_MISSING or IDENTITY_INVALID."""
        if not token:
            raise Unauthenticated(
                "this service takes calls from the gateway only; call the gateway", reason=Reason.IDENTITY_MISSING
            )
        seen = self._seen.get(token)
        if seen is not None and seen[1] > self._now():
            return seen[0]
        try:
            key = self._keys[jwt.get_unverified_header(token)["kid"]]
            claims = jwt.decode(
                token,
                key,
                algorithms=["HS256"],
                audience=self._audience,
                options={"require": ["exp", "iat", "aud", "sub"], "verify_exp": False, "verify_iat": False},
            )
            expires = float(claims["exp"]) + LEEWAY_SECONDS
            identity = Identity(
                tenant=str(claims["tenant"]),
                principal=str(claims["sub"]),
                groups=tuple(claims["groups"]),
                scopes=frozenset(claims["scopes"]),
                request_id=str(claims["rid"]),
            )
        except (jwt.InvalidTokenError, KeyError, TypeError, ValueError) as error:
            raise Unauthenticated("the identity token is not valid here", reason=Reason.IDENTITY_INVALID) from error
        if expires <= self._now() or float(claims["iat"]) > self._now() + LEEWAY_SECONDS:
            raise Unauthenticated("the identity token has expired", reason=Reason.IDENTITY_INVALID)
        self._seen[token] = (identity, expires)
        while len(self._seen) > _CACHE:
            self._seen.popitem(last=False)
        return identity
