"""The port of the gateway's keys: what every adapter must do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ragmesh_backends.model.key import KeyRecord
from ragmesh_backends.records.keys import KEYS_SCHEMA, SqliteKeys
from ragmesh_backends.sqlite.database import Database
from ragmesh_servicekit.errors import AlreadyExists, NotFound, Reason

NOW = datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
KEY = KeyRecord(
    key_id="k1",
    tenant="acme",
    principal="user:ann",
    name="laptop; DROP TABLE api_keys",
    scopes=frozenset({"documents:write", "search"}),
    groups=("staff", "ops"),
    secret_sha256="ab" * 32,
    created_at=NOW,
    expires_at=NOW + timedelta(days=1),
)


@pytest.fixture(params=["sqlite"])
async def keys(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqliteKeys]:
    assert request.param == "sqlite"
    async with await Database.open(tmp_path / "mesh.db", [KEYS_SCHEMA]) as database:
        yield SqliteKeys(database, clock=lambda: NOW)


async def test_a_key_comes_back_as_it_was_put(keys: SqliteKeys) -> None:
    await keys.put(KEY)
    await keys.put(KEY)  # again is fine
    assert await keys.get("k1") == KEY


async def test_a_key_is_never_overwritten(keys: SqliteKeys) -> None:
    await keys.put(KEY)
    with pytest.raises(AlreadyExists):
        await keys.put(replace(KEY, tenant="other"))
    assert (await keys.get("k1")).tenant == "acme"


async def test_an_unknown_key_is_not_found(keys: SqliteKeys) -> None:
    with pytest.raises(NotFound) as caught:
        await keys.get("nope")
    assert caught.value.reason is Reason.KEY_NOT_FOUND


async def test_keys_are_listed_for_one_tenant_in_pages(keys: SqliteKeys) -> None:
    for key_id in ("c", "a", "b"):
        await keys.put(replace(KEY, key_id=key_id))
    await keys.put(replace(KEY, key_id="aa", tenant="other"))
    assert [k.key_id for k in await keys.list("acme", "", 2)] == ["a", "b"]
    assert [k.key_id for k in await keys.list("acme", "b", 2)] == ["c"]


async def test_a_revoked_key_keeps_its_first_time_and_only_its_tenant_revokes_it(keys: SqliteKeys) -> None:
    await keys.put(KEY)
    with pytest.raises(NotFound):
        await keys.revoke("other", "k1")
    assert (await keys.get("k1")).revoked_at is None
    assert (await keys.revoke("acme", "k1")).revoked_at == NOW
    await keys.put(replace(KEY, key_id="k2", revoked_at=NOW - timedelta(days=1)))
    assert (await keys.revoke("acme", "k2")).revoked_at == NOW - timedelta(days=1)
