"""The gateway's keys on Neo4j: own nodes, which no other service touches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ragmesh_backends.model.key import KeyRecord
from ragmesh_backends.neo4j.client import Transaction, rows
from ragmesh_backends.records.clock import from_microseconds, to_microseconds
from ragmesh_backends.records.neo4j.ledger import ROWS
from ragmesh_backends.records.neo4j.ordering import ordered
from ragmesh_backends.records.neo4j.table import Table
from ragmesh_backends.records.refusals import key_exists, key_not_found

_PUT = """
UNWIND $nodes AS node
MERGE (k:GatewayKey {key_id: node.key_id}) ON CREATE SET k += node
RETURN properties(k) AS node
"""
_GET = "MATCH (k:GatewayKey {key_id: $key_id}) RETURN properties(k) AS node"
_LIST = """
MATCH (k:GatewayKey {tenant: $tenant}) WHERE k.position > $after
RETURN properties(k) AS node ORDER BY k.position LIMIT $limit
"""
_COPIES = """
MATCH (k:GatewayKey) WHERE k.key_id > $after AND ($tenant = '' OR k.tenant = $tenant)
RETURN properties(k) AS node ORDER BY k.key_id LIMIT $limit
"""
# The lock first, then a statement that reads what the one before has committed.
_LOCK = "MATCH (k:GatewayKey {key_id: $key_id}) WHERE k.tenant = $tenant SET k.locked_us = $now"
_REVOKE = """
MATCH (k:GatewayKey {key_id: $key_id}) WHERE k.tenant = $tenant
SET k.revoked_us = coalesce(k.revoked_us, $now)
RETURN properties(k) AS node
"""


class Neo4jKeys(Table):
    """Keys by their public id. The database must have KEYS_SCHEMA."""

    async def put(self, record: KeyRecord) -> None:
        """Keep a new key. The same record again is fine; AlreadyExists when the id belongs to another one: a key is
        never overwritten."""

        async def work(transaction: Transaction) -> None:
            if await put_keys(transaction, [record]):
                raise key_exists()

        await self._client.write(work)

    async def get(self, key_id: str) -> KeyRecord:
        """The key whatever its state: the caller compares hash, expiry and revocation. The one method without a
        tenant, since the key is what names it. NotFound (KEY_NOT_FOUND) when there is none."""

        async def work(transaction: Transaction) -> KeyRecord:
            found = await rows(transaction, _GET, key_id=key_id)
            if not found:
                raise key_not_found()
            return _record(found[0]["node"])

        return await self._client.read(work)

    async def list(self, tenant: str, after: str, limit: int) -> Sequence[KeyRecord]:
        """At most `limit` keys of the tenant with an id greater than `after` (empty: from the start), by id."""

        async def work(transaction: Transaction) -> Sequence[KeyRecord]:
            found = await rows(transaction, _LIST, tenant=tenant, after=ordered(after), limit=limit)
            return [_record(row["node"]) for row in found]

        return await self._client.read(work)

    async def copies(self, tenant: str, after: str, limit: int) -> Sequence[KeyRecord]:
        """As `list`, and of all tenants for the tenant "": for backups. Ids are ASCII, which sorts everywhere alike."""

        async def work(transaction: Transaction) -> Sequence[KeyRecord]:
            found = await rows(transaction, _COPIES, tenant=tenant, after=after, limit=limit)
            return [_record(row["node"]) for row in found]

        return await self._client.read(work)

    async def revoke(self, tenant: str, key_id: str) -> KeyRecord:
        """Revoke a key now; one that was revoked keeps its time. NotFound when it is absent or another tenant's."""

        async def work(transaction: Transaction) -> KeyRecord:
            key = {"tenant": tenant, "key_id": key_id, "now": self._now()}
            await rows(transaction, _LOCK, **key)
            found = await rows(transaction, _REVOKE, **key)
            if not found:
                raise key_not_found()
            return _record(found[0]["node"])

        return await self._client.write(work)


async def put_keys(transaction: Transaction, records: Sequence[KeyRecord]) -> list[KeyRecord]:
    """Keep new keys; those whose id belongs to another record already, which stays."""
    kept = []
    for start in range(0, len(records), ROWS):
        part = records[start : start + ROWS]
        found = await rows(transaction, _PUT, nodes=[_node(record) for record in part])
        there = {row["node"]["key_id"]: _record(row["node"]) for row in found}
        kept += [record for record in part if there[record.key_id] != record]
    return kept


def _node(record: KeyRecord) -> dict[str, Any]:
    return {
        "key_id": record.key_id,
        "tenant": record.tenant,
        "position": ordered(record.key_id),
        "principal": record.principal,
        "name": record.name,
        "scopes": sorted(record.scopes),
        "access_groups": list(record.groups),
        "secret_sha256": record.secret_sha256,
        "created_us": to_microseconds(record.created_at),
        "expires_us": None if record.expires_at is None else to_microseconds(record.expires_at),
        "revoked_us": None if record.revoked_at is None else to_microseconds(record.revoked_at),
    }


def _record(node: Mapping[str, Any]) -> KeyRecord:
    return KeyRecord(
        key_id=node["key_id"],
        tenant=node["tenant"],
        principal=node["principal"],
        name=node["name"],
        scopes=frozenset(node["scopes"]),
        groups=tuple(node["access_groups"]),
        secret_sha256=node["secret_sha256"],
        created_at=from_microseconds(node["created_us"]),
        expires_at=None if node.get("expires_us") is None else from_microseconds(node["expires_us"]),
        revoked_at=None if node.get("revoked_us") is None else from_microseconds(node["revoked_us"]),
    )
