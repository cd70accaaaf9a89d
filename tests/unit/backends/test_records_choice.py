"""Which record store RAGMESH_RECORDS_URL names, and what is said of a wrong one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ragmesh_backends.records.open import open_keys, open_records
from ragmesh_backends.records.sqlite import SqliteRecords
from ragmesh_backends.store_settings import RecordsSettings
from ragmesh_servicekit.settings import SettingsError, load


def settings(url: str, **others: str) -> RecordsSettings:
    return load(RecordsSettings, {"RAGMESH_RECORDS_URL": url, **others})


@pytest.mark.parametrize(
    ("url", "neo4j"),
    [
        ("sqlite:/var/lib/ragmesh/records.db", False),
        ("bolt://graph.internal:7687", True),
        ("bolt+s://x.databases.example", True),
        ("bolt://127.0.0.1:7687", True),
        ("bolt+ssc://[::1]:7687", True),
    ],
)
def test_the_scheme_chooses(url: str, neo4j: bool) -> None:
    assert settings(url).is_neo4j() is neo4j


@pytest.mark.parametrize(
    "url", ["postgres://h/db", "neo4j://h:7687", "bolt://", "bolt:7687", "/var/lib/records.db", "http://h:7474"]
)
def test_another_kind_of_store_is_refused_by_name(url: str) -> None:
    with pytest.raises(SettingsError, match=r"RAGMESH_RECORDS_URL: must be `sqlite:/path/to/file`, or `bolt://"):
        settings(url)


def test_a_password_in_the_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(SettingsError, match="set RAGMESH_RECORDS_USER and _PASSWORD") as caught:
        settings("bolt://neo4j:hunter2@host:7687")
    assert "hunter2" not in str(caught.value)


def test_the_password_may_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hunter2\n")
    found = settings("bolt://h:7687", RAGMESH_RECORDS_PASSWORD_FILE=str(tmp_path / "password"))
    assert (found.user, found.password) == ("neo4j", "hunter2")


async def test_a_sqlite_address_opens_the_file(tmp_path: Path) -> None:
    chosen = settings(f"sqlite:{tmp_path / 'records.db'}")
    async with await open_records(chosen) as store, await open_keys(chosen) as keys:
        assert isinstance(store.records, SqliteRecords)
        await store.ping()
        await keys.ping()
        assert await store.records.list_collections("acme", "", 10) == []
        assert await keys.keys.list("acme", "", 10) == []


def test_a_process_on_sqlite_does_not_import_the_driver_of_neo4j(tmp_path: Path) -> None:
    program = f"""
import asyncio, sys
from ragmesh_backends.records.open import open_keys, open_records
from ragmesh_backends.store_settings import RecordsSettings
async def main():
    settings = RecordsSettings({f"sqlite:{tmp_path}/records.db"!r})
    async with await open_records(settings), await open_keys(settings):
        assert "neo4j" not in sys.modules
asyncio.run(main())
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
