"""Keys: telling who is asking, and managing who may."""

from __future__ import annotations

import string
import zlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ragmesh_backends.model.key import KeyRecord
from ragmesh_backends.records.keys import KEYS_SCHEMA, SqliteKeys
from ragmesh_backends.sqlite.database import Database
from ragmesh_gateway.domain.keys import KeyRing, Keys, NewKey
from ragmesh_gateway.domain.scopes import ALL_SCOPES, DATA_SCOPES, KEYS_ADMIN, TENANTS_ADMIN
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

NOW = datetime(2026, 5, 1, tzinfo=UTC)


class Store:
    """The real store behind a line that can be cut; counts look-ups."""

    def __init__(self, store: SqliteKeys) -> None:
        self._store = store
        self.down = False
        self.looked_up = 0

    def _line(self) -> SqliteKeys:
        if self.down:
            raise Unavailable.dependency("records")
        return self._store

    async def put(self, record: KeyRecord) -> None:
        await self._line().put(record)

    async def get(self, key_id: str) -> KeyRecord:
        self.looked_up += 1
        return await self._line().get(key_id)

    async def list(self, tenant: str, after: str, limit: int) -> Sequence[KeyRecord]:
        return await self._line().list(tenant, after, limit)

    async def revoke(self, tenant: str, key_id: str) -> KeyRecord:
        return await self._line().revoke(tenant, key_id)


@dataclass
class World:
    store: Store
    clock: list[float] = field(default_factory=lambda: [1000.0])
    ring: KeyRing = field(init=False)
    keys: Keys = field(init=False)

    def __post_init__(self) -> None:
        self.ring = KeyRing(self.store, monotonic=lambda: self.clock[0], now=lambda: NOW, capacity=3)
        self.keys = Keys(self.store, self.ring, now=lambda: NOW)

    async def make(self, **changes: object) -> str:
        wanted = NewKey("", "n", frozenset(), (), None)
        return (await self.keys.create(ADMIN, replace(wanted, **changes)))[1]  # type: ignore[arg-type]  # by name


ADMIN = Identity("acme", "key:admin", (), ALL_SCOPES)


def id_of(key: str) -> str:
    parsed = parse(key)
    assert parsed is not None
    return parsed.key_id


def with_another_secret(key: str) -> str:
    """A well-formed key of the same id."""
    body = f"rag_live_{id_of(key)}_{new_key().split('_')[3]}"
    value, checksum = zlib.crc32(body.encode()), ""
    for _ in range(6):
        value, digit = divmod(value, 62)
        checksum = (string.digits + string.ascii_uppercase + string.ascii_lowercase)[digit] + checksum
    return f"{body}_{checksum}"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with await Database.open(tmp_path / "keys.db", [KEYS_SCHEMA]) as database:
        yield World(Store(SqliteKeys(database)))


async def test_a_key_opens_its_tenant(world: World) -> None:
    key = await world.make(groups=("staff",))
    record = await world.ring.authenticate(key)
    assert (record.tenant, record.groups, record.scopes) == ("acme", ("staff",), DATA_SCOPES)
    assert record.principal == f"key:{record.key_id}"


async def test_unknown_wrong_revoked_and_expired_keys_look_alike(world: World) -> None:
    key = await world.make()
    wrong_secret = with_another_secret(key)
    revoked = await world.make()
    await world.keys.revoke(ADMIN, id_of(revoked))
    expiring = await world.make(expires_at=NOW + timedelta(seconds=1))
    world.ring._now = lambda: NOW + timedelta(seconds=1)
    heard = set()
    for each in (new_key(), wrong_secret, revoked, expiring):
        with pytest.raises(Unauthenticated) as refused:
            await world.ring.authenticate(each)
        heard.add((refused.value.message, refused.value.reason))
    assert heard == {("the key is not valid", Reason.KEY_INVALID)}
    assert (await world.ring.authenticate(key)).tenant == "acme"


async def test_a_malformed_key_is_refused_without_a_look_up(world: World) -> None:
    key = await world.make()
    for each in ("", "x", key[:-1], key + "x", key.replace("rag_live", "rag_test"), key.swapcase(), "é" * 70):
        with pytest.raises(Unauthenticated, match="malformed"):
            await world.ring.authenticate(each)
    assert world.store.looked_up == 0


async def test_a_record_is_looked_up_again_when_it_is_no_longer_fresh(world: World) -> None:
    key = await world.make()
    for _ in range(3):
        await world.ring.authenticate(key)
    assert world.store.looked_up == 1
    world.clock[0] += 5.0
    await world.ring.authenticate(key)
    assert world.store.looked_up == 2


async def test_known_keys_keep_working_for_an_hour_while_the_store_is_down(world: World) -> None:
    key, revoked = await world.make(), await world.make()
    await world.ring.authenticate(key)
    await world.keys.revoke(ADMIN, id_of(revoked))
    with pytest.raises(Unauthenticated):
        await world.ring.authenticate(revoked)
    world.store.down = True
    world.clock[0] += 3599.0
    assert (await world.ring.authenticate(key)).tenant == "acme"
    with pytest.raises(Unauthenticated):
        await world.ring.authenticate(revoked)
    with pytest.raises(Unavailable):
        await world.ring.authenticate(new_key())
    world.clock[0] += 1.0
    with pytest.raises(Unavailable):
        await world.ring.authenticate(key)


async def test_a_revoked_key_ends_at_once_here_and_within_five_seconds_elsewhere(world: World) -> None:
    key = await world.make()
    key_id = (await world.ring.authenticate(key)).key_id
    elsewhere = KeyRing(world.store, monotonic=lambda: world.clock[0], now=lambda: NOW)
    await elsewhere.authenticate(key)
    assert (await world.keys.revoke(ADMIN, key_id)).revoked_at is not None
    with pytest.raises(Unauthenticated):
        await world.ring.authenticate(key)
    await elsewhere.authenticate(key)
    world.clock[0] += 5.0
    with pytest.raises(Unauthenticated):
        await elsewhere.authenticate(key)


async def test_made_up_keys_do_not_grow_the_memory(world: World) -> None:
    for _ in range(10):
        with pytest.raises(Unauthenticated):
            await world.ring.authenticate(new_key())
    assert len(world.ring._cache) == 3


async def test_nobody_gives_what_they_lack(world: World) -> None:
    holder = Identity("acme", "key:h", (), frozenset({KEYS_ADMIN, "query"}))
    record, _ = await world.keys.create(holder, NewKey("", "n", frozenset(), (), None))
    assert record.scopes == {"query"}
    for wanted, error in (
        (NewKey("", "n", frozenset({"documents:write"}), (), None), PermissionDenied),
        (NewKey("", "n", frozenset({TENANTS_ADMIN}), (), None), PermissionDenied),
        (NewKey("globex", "n", frozenset({"query"}), (), None), PermissionDenied),
        (NewKey("", "n", frozenset({"nonsense"}), (), None), InvalidArgument),
        (NewKey("", "n", frozenset({"query"}), (), NOW), InvalidArgument),
    ):
        with pytest.raises(error):
            await world.keys.create(holder, wanted)
    record, _ = await world.keys.create(ADMIN, NewKey("globex", "n", frozenset({"query"}), (), None))
    assert record.tenant == "globex"
    assert [r.key_id for r in await world.keys.list(ADMIN, "", 10)] != [record.key_id]
    with pytest.raises(NotFound):
        await world.keys.revoke(ADMIN, record.key_id)


async def test_an_installed_key_is_there_once_and_stays_revoked(world: World) -> None:
    key = new_key()
    await world.keys.install(key, "acme", "bootstrap")
    await world.keys.install(key, "acme", "bootstrap")
    record = await world.ring.authenticate(key)
    assert record.scopes == ALL_SCOPES
    await world.keys.revoke(ADMIN, record.key_id)
    await world.keys.install(key, "acme", "bootstrap")
    with pytest.raises(Unauthenticated):
        await world.ring.authenticate(key)
    with pytest.raises(InvalidArgument):
        await world.keys.install("secret", "acme", "bootstrap")


async def test_two_gateways_may_install_the_same_key_at_once(world: World) -> None:
    key = new_key()

    class Late(Store):
        """A store in which another gateway's key appears after the first look."""

        async def get(self, key_id: str) -> KeyRecord:
            if not self.looked_up:
                self.looked_up += 1
                await world.keys.install(key, "acme", "bootstrap")
                raise NotFound("key_id: no such key", reason=Reason.KEY_NOT_FOUND)
            return await super().get(key_id)

        async def put(self, record: KeyRecord) -> None:
            raise AlreadyExists("a key with this id exists already")

    await Keys(Late(world.store._store), world.ring).install(key, "acme", "bootstrap")
