"""The gateway's keys on SQLite: own tables, which no other service touches."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from ragmesh_backends.model.key import KeyRecord
from ragmesh_backends.records.clock import from_microseconds, to_microseconds
from ragmesh_backends.records.refusals import key_exists, key_not_found
from ragmesh_backends.records.sqlite.table import Table
from ragmesh_backends.sqlite.schema import Schema

KEYS_SCHEMA = Schema(
    "keys",
    (
        (
            """
            CREATE TABLE api_keys (
                key_id TEXT PRIMARY KEY,
                tenant TEXT NOT NULL,
                principal TEXT NOT NULL,
                name TEXT NOT NULL,
                scopes TEXT NOT NULL,
                access_groups TEXT NOT NULL,
                secret_sha256 TEXT NOT NULL,
                created_us INTEGER NOT NULL,
                expires_us INTEGER,
                revoked_us INTEGER
            ) WITHOUT ROWID
            """,
            "CREATE INDEX api_keys_of_tenant ON api_keys (tenant, key_id)",
        ),
    ),
)
_COLUMNS = "key_id, tenant, principal, name, scopes, access_groups, secret_sha256, created_us, expires_us, revoked_us"


class SqliteKeys(Table):
    """Keys by their public id. The database must have been opened with KEYS_SCHEMA."""

    async def put(self, record: KeyRecord) -> None:
        """Keep a new key. The same record again is fine; AlreadyExists when the id belongs to another one: a key is
        never overwritten."""

        def insert(connection: sqlite3.Connection) -> None:
            if not put_key(connection, record):
                raise key_exists()

        await self._database.write(insert)

    async def get(self, key_id: str) -> KeyRecord:
        """The key whatever its state: the caller compares hash, expiry and revocation. The one method without a
        tenant, since the key is what names it. NotFound (KEY_NOT_FOUND) when there is none."""
        record = await self._database.read(lambda connection: _find(connection, key_id))
        if record is None:
            raise key_not_found()
        return record

    async def list(self, tenant: str, after: str, limit: int) -> Sequence[KeyRecord]:
        """At most `limit` keys of the tenant with an id greater than `after` (empty: from the start), by id."""

        def query(connection: sqlite3.Connection) -> list[KeyRecord]:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM api_keys"  # noqa: S608 - constant column names
                " WHERE tenant = ? AND key_id > ? ORDER BY key_id LIMIT ?",
                (tenant, after, limit),
            )
            return [_record(row) for row in rows]

        return await self._database.read(query)

    async def copies(self, tenant: str, after: str, limit: int) -> Sequence[KeyRecord]:
        """As `list`, and of all tenants for the tenant "": for backups."""

        def query(connection: sqlite3.Connection) -> Sequence[KeyRecord]:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM api_keys"  # noqa: S608 - constant column names
                " WHERE (? = '' OR tenant = ?) AND key_id > ? ORDER BY key_id LIMIT ?",
                (tenant, tenant, after, limit),
            )
            return [_record(row) for row in rows]

        return await self._database.read(query)

    async def revoke(self, tenant: str, key_id: str) -> KeyRecord:
        """Revoke a key now; one that was revoked keeps its time. NotFound when it is absent or another tenant's."""

        def revoke(connection: sqlite3.Connection) -> KeyRecord:
            connection.execute(
                "UPDATE api_keys SET revoked_us = coalesce(revoked_us, ?) WHERE tenant = ? AND key_id = ?",
                (self._now(), tenant, key_id),
            )
            record = _find(connection, key_id)
            if record is None or record.tenant != tenant:
                raise key_not_found()
            return record

        return await self._database.write(revoke)


def put_key(connection: sqlite3.Connection, record: KeyRecord) -> bool:
    """Keep a new key; whether it is there as this record, then or already. Runs inside the caller's transaction."""
    found = _find(connection, record.key_id)
    if found is not None:
        return found == record
    connection.execute(
        f"INSERT INTO api_keys ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - constant
        (
            record.key_id,
            record.tenant,
            record.principal,
            record.name,
            json.dumps(sorted(record.scopes)),
            json.dumps(record.groups),
            record.secret_sha256,
            to_microseconds(record.created_at),
            None if record.expires_at is None else to_microseconds(record.expires_at),
            None if record.revoked_at is None else to_microseconds(record.revoked_at),
        ),
    )
    return True


def _find(connection: sqlite3.Connection, key_id: str) -> KeyRecord | None:
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM api_keys WHERE key_id = ?",  # noqa: S608 - constant column names
        (key_id,),
    ).fetchone()
    return None if row is None else _record(row)


def _record(row: Any) -> KeyRecord:
    return KeyRecord(
        key_id=row[0],
        tenant=row[1],
        principal=row[2],
        name=row[3],
        scopes=frozenset(json.loads(row[4])),
        groups=tuple(json.loads(row[5])),
        secret_sha256=row[6],
        created_at=from_microseconds(row[7]),
        expires_at=None if row[8] is None else from_microseconds(row[8]),
        revoked_at=None if row[9] is None else from_microseconds(row[9]),
    )
