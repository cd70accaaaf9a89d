"""Keys: telling who is asking, and managing who may."""

from __future__ import annotations

import hmac
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ragmesh_backends.model.key import KeyRecord
from ragmesh_gateway.domain.ports import KeyStore
from ragmesh_gateway.domain.scopes import ALL_SCOPES, DATA_SCOPES, TENANTS_ADMIN
from ragmesh_servicekit.api_key import new_key, parse
from ragmesh_servicekit.errors import (
    AlreadyExists,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Reason,
    Unauthenticated,
    Unavailable,
)
from ragmesh_servicekit.identity import Identity

_NOBODY = "0" * 64


@dataclass(slots=True)
class _Cached:
    record: KeyRecord | None
    at: float


class KeyRing:
    """Verifies keys. A record is trusted for `fresh_seconds`; while the store is down for up to `stale_seconds`, so
    that callers already known keep working. At most `capacity` records are kept, unknown ids among them, so that a
    flood of made-up keys does not grow it."""

    def __init__(
        self,
        store: KeyStore,
        *,
        fresh_seconds: float = 5.0,
        stale_seconds: float = 3600.0,
        capacity: int = 10_000,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._fresh, self._stale, self._capacity = fresh_seconds, stale_seconds, capacity
        self._monotonic, self._now = monotonic, now
        self._cache: OrderedDict[str, _Cached] = OrderedDict()

    async def authenticate(self, key: str) -> KeyRecord:
        """The key's record. Raises Unauthenticated, the same for an unknown id, a wrong secret, a revoked and an
        expired key; Unavailable when the store is down and the key is not known from before."""
        parsed = parse(key)
        if parsed is None:
            raise Unauthenticated("the key is malformed: it is not rag_live_<id>_<secret>_<checksum>")
        record = await self._record(parsed.key_id)
        matches = hmac.compare_digest(record.secret_sha256 if record else _NOBODY, parsed.secret_sha256)
        if record is None or not matches or record.revoked_at is not None:
            raise Unauthenticated("the key is not valid")
        if record.expires_at is not None and record.expires_at <= self._now():
            raise Unauthenticated("the key is not valid")
        return record

    def forget(self, key_id: str) -> None:
        """Look the key up anew at its next use."""
        self._cache.pop(key_id, None)

    async def _record(self, key_id: str) -> KeyRecord | None:
        cached = self._cache.get(key_id)
        if cached is not None and self._monotonic() - cached.at < self._fresh:
            self._cache.move_to_end(key_id)
            return cached.record
        record: KeyRecord | None
        try:
            record = await self._store.get(key_id)
        except NotFound:
            record = None
        except Unavailable:
            if cached is not None and cached.record is not None and self._monotonic() - cached.at < self._stale:
                return cached.record
            raise
        self._cache[key_id] = _Cached(record, self._monotonic())
        self._cache.move_to_end(key_id)
        while len(self._cache) > self._capacity:
            self._cache.popitem(last=False)
        return record


@dataclass(frozen=True, slots=True)
class NewKey:
    tenant: str
    name: str
    scopes: frozenset[str]
    groups: tuple[str, ...]
    expires_at: datetime | None


class Keys:
    """Makes, lists and revokes keys."""

    def __init__(self, store: KeyStore, ring: KeyRing, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._store, self._ring, self._now = store, ring, now

    async def create(self, caller: Identity, wanted: NewKey) -> tuple[KeyRecord, str]:
        """A new key and its secret. Raises PermissionDenied for another tenant's without tenants:admin, and for a scope
        that the caller lacks; InvalidArgument for an unknown scope and an expiry in the past."""
        tenant = wanted.tenant or caller.tenant
        if tenant != caller.tenant and TENANTS_ADMIN not in caller.scopes:
            raise PermissionDenied(f"a key of another tenant needs the scope {TENANTS_ADMIN}")
        scopes = wanted.scopes or DATA_SCOPES & caller.scopes
        unknown = sorted(scopes - ALL_SCOPES)
        if unknown:
            known = ", ".join(sorted(ALL_SCOPES))
            raise InvalidArgument.field("scopes", f"{unknown[0]!r} is not a scope; the scopes are {known}")
        lacking = sorted(scopes - caller.scopes)
        if lacking:
            raise PermissionDenied(f"the caller lacks the scope {lacking[0]} and cannot give it")
        if wanted.expires_at is not None and wanted.expires_at <= self._now():
            raise InvalidArgument.field("expire_time", "must be in the future")
        key = new_key()
        record = self._record_of(key, tenant, wanted.name, scopes, wanted.groups, wanted.expires_at)
        await self._store.put(record)
        self._ring.forget(record.key_id)
        return record, key

    async def install(self, key: str, tenant: str, name: str) -> None:
        """Make sure that a key given by the operator exists, with every scope. Raises InvalidArgument when it is not a
        well-formed key. One that was revoked stays so."""
        record = self._record_of(key, tenant, name, ALL_SCOPES, (), None)
        if await self._holds(record):
            return
        try:
            await self._store.put(record)
        except AlreadyExists:  # another replica was quicker, or the id is another key's
            if not await self._holds(record):
                raise
        self._ring.forget(record.key_id)  # it may have been asked for before

    async def _holds(self, record: KeyRecord) -> bool:
        try:
            return (await self._store.get(record.key_id)).secret_sha256 == record.secret_sha256
        except NotFound:
            return False

    async def list(self, caller: Identity, after: str, limit: int) -> Sequence[KeyRecord]:
        """The caller's tenant's keys after an id, sorted by id."""
        return await self._store.list(caller.tenant, after, limit)

    async def revoke(self, caller: Identity, key_id: str) -> KeyRecord:
        """End a key of the caller's tenant; at once here, within `fresh_seconds` on other replicas."""
        record = await self._store.revoke(caller.tenant, key_id)
        self._ring.forget(key_id)
        return record

    def _record_of(
        self,
        key: str,
        tenant: str,
        name: str,
        scopes: frozenset[str],
        groups: tuple[str, ...],
        expires_at: datetime | None,
    ) -> KeyRecord:
        parsed = parse(key)
        if parsed is None:
            raise InvalidArgument("the key is not rag_live_<id>_<secret>_<checksum>", reason=Reason.KEY_INVALID)
        return KeyRecord(
            key_id=parsed.key_id,
            tenant=tenant,
            principal=f"key:{parsed.key_id}",
            name=name,
            scopes=scopes,
            groups=groups,
            secret_sha256=parsed.secret_sha256,
            created_at=self._now(),
            expires_at=expires_at,
        )
