"""The port of the gateway's keys: what every adapter must do."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ragmesh_backends.model.key import KeyRecord
from ragmesh_backends.records.keys import KEYS_SCHEMA, SqliteKeys
from ragmesh_backends.records.neo4j import Neo4jKeys
from ragmesh_backends.records.neo4j.schema import NEO4J_KEYS_SCHEMA
from ragmesh_backends.sqlite.database import Database
from ragmesh_servicekit.errors import AlreadyExists, NotFound, Reason
from support import neo4j

Keys = SqliteKeys | Neo4jKeys
RUN = secrets.token_hex(4)
ACME, OTHER = f"acme-{RUN}", f"other-{RUN}"
NOW = datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
KEY = KeyRecord(
    key_id=f"k1-{RUN}",
    tenant=ACME,
    principal="user:ann",
    name="laptop; DROP TABLE api_keys",
    scopes=frozenset({"documents:write", "search"}),
    groups=("staff", "ops"),
    secret_sha256="ab" * 32,
    created_at=NOW,
    expires_at=NOW + timedelta(days=1),
)


@pytest.fixture(params=["sqlite", pytest.param("neo4j", marks=neo4j.needed)])
async def keys(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Keys]:
    if request.param == "sqlite":
        async with await Database.open(tmp_path / "mesh.db", [KEYS_SCHEMA]) as database:
            yield SqliteKeys(database, clock=lambda: NOW)
        return
    neo4j.require()
    async with neo4j.opened(NEO4J_KEYS_SCHEMA) as client:
        try:
            yield Neo4jKeys(client, clock=lambda: NOW)
        finally:
            await neo4j.forget_tenants(ACME, OTHER)


async def test_a_key_comes_back_as_it_was_put(keys: Keys) -> None:
    await keys.put(KEY)
    await keys.put(KEY)  # again is fine
    assert await keys.get(KEY.key_id) == KEY


async def test_a_key_is_never_overwritten(keys: Keys) -> None:
    await keys.put(KEY)
    with pytest.raises(AlreadyExists):
        await keys.put(replace(KEY, tenant=OTHER))
    assert (await keys.get(KEY.key_id)).tenant == ACME


async def test_of_two_gateways_that_install_one_key_at_once_both_succeed_and_of_two_keys_one_does(keys: Keys) -> None:
    await asyncio.gather(keys.put(KEY), keys.put(KEY))
    rivals = [replace(KEY, key_id=f"k3-{RUN}", principal=f"user:{n}") for n in range(2)]
    results = await asyncio.gather(*(keys.put(rival) for rival in rivals), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["AlreadyExists", "NoneType"]
    assert await keys.get(f"k3-{RUN}") == rivals[results.index(None)]


async def test_an_unknown_key_is_not_found(keys: Keys) -> None:
    with pytest.raises(NotFound) as caught:
        await keys.get("nope")
    assert caught.value.reason is Reason.KEY_NOT_FOUND


async def test_keys_are_listed_for_one_tenant_in_pages(keys: Keys) -> None:
    for key_id in ("c", "a", "b"):
        await keys.put(replace(KEY, key_id=f"{key_id}-{RUN}"))
    await keys.put(replace(KEY, key_id=f"aa-{RUN}", tenant=OTHER))
    assert [k.key_id for k in await keys.list(ACME, "", 2)] == [f"a-{RUN}", f"b-{RUN}"]
    assert [k.key_id for k in await keys.list(ACME, f"b-{RUN}", 2)] == [f"c-{RUN}"]


async def test_a_revoked_key_keeps_its_first_time_and_only_its_tenant_revokes_it(keys: Keys) -> None:
    await keys.put(KEY)
    with pytest.raises(NotFound):
        await keys.revoke(OTHER, KEY.key_id)
    assert (await keys.get(KEY.key_id)).revoked_at is None
    assert (await keys.revoke(ACME, KEY.key_id)).revoked_at == NOW
    await keys.put(replace(KEY, key_id=f"k2-{RUN}", revoked_at=NOW - timedelta(days=1)))
    assert (await keys.revoke(ACME, f"k2-{RUN}")).revoked_at == NOW - timedelta(days=1)


async def test_copies_are_of_one_tenant_or_of_all(keys: Keys) -> None:
    theirs = replace(KEY, key_id=f"k2-{RUN}", tenant=OTHER)
    for record in (KEY, theirs):
        await keys.put(record)
    assert list(await keys.copies(ACME, "", 10)) == [KEY]
    everyone = [one for one in await keys.copies("", "", 10_000) if one.tenant in {ACME, OTHER}]
    assert everyone == [KEY, theirs]
    assert KEY not in await keys.copies("", KEY.key_id, 10_000)
