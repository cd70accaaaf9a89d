"""The database: transactions, sharing of commits, cancellation, several processes, schema versions."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from ragmesh_backends.sqlite.database import Database
from ragmesh_backends.sqlite.schema import Schema
from ragmesh_servicekit.errors import FailedPrecondition, Internal, NotFound, Unavailable
from support.killed_child import run_and_kill

NUMBERS = Schema("numbers", (("CREATE TABLE numbers (n INTEGER PRIMARY KEY)",),))


def insert(n: int) -> Callable[[sqlite3.Connection], int]:
    def transaction(connection: sqlite3.Connection) -> int:
        connection.execute("INSERT INTO numbers VALUES (?)", (n,))
        return n

    return transaction


def numbers(connection: sqlite3.Connection) -> list[int]:
    return [n for (n,) in connection.execute("SELECT n FROM numbers ORDER BY n")]


async def test_the_file_and_its_log_are_readable_by_the_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "home" / "records.db"
    async with await Database.open(path, [NUMBERS]) as database:
        await database.write(insert(1))
        for file in path.parent.iterdir():
            assert file.stat().st_mode & 0o077 == 0, file


async def test_a_file_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    path = tmp_path / "records.db"
    path.touch(mode=0o644)
    async with await Database.open(path, [NUMBERS]):
        assert path.stat().st_mode & 0o777 == 0o600


async def test_a_commit_is_synced_before_it_is_acknowledged(tmp_path: Path) -> None:
    async with await Database.open(tmp_path / "records.db", [NUMBERS]) as database:
        modes = await database.write(
            lambda c: [c.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
        )
    assert modes == ["wal", 2]


async def test_writes_that_wait_share_a_commit_and_one_that_fails_is_undone_alone(tmp_path: Path) -> None:
    async with await Database.open(tmp_path / "records.db", [NUMBERS]) as database:
        busy, free = threading.Event(), threading.Event()

        def hold(connection: sqlite3.Connection) -> None:
            busy.set()
            free.wait(10)

        def half(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT INTO numbers VALUES (100)")
            raise NotFound("changed my mind")

        holder = asyncio.create_task(database.write(hold))
        await asyncio.to_thread(busy.wait, 10)
        writes = [asyncio.create_task(database.write(insert(n))) for n in range(10)]
        failing = asyncio.create_task(database.write(half))
        duplicate = asyncio.create_task(database.write(insert(3)))
        await asyncio.sleep(0)
        free.set()
        await holder
        assert await asyncio.gather(*writes) == list(range(10))
        with pytest.raises(NotFound):
            await failing
        with pytest.raises(Internal, match="refused a statement"):
            await duplicate
        assert await database.read(numbers) == list(range(10))


async def test_a_cancelled_write_leaves_nothing_before_its_turn_and_everything_after(tmp_path: Path) -> None:
    async with await Database.open(tmp_path / "records.db", [NUMBERS]) as database:
        busy, free = threading.Event(), threading.Event()

        def two(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT INTO numbers VALUES (1)")
            busy.set()
            free.wait(10)
            connection.execute("INSERT INTO numbers VALUES (2)")

        running = asyncio.create_task(database.write(two))
        await asyncio.to_thread(busy.wait, 10)
        waiting = asyncio.create_task(database.write(insert(3)))
        await asyncio.sleep(0)
        for task in (running, waiting):
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        free.set()
        await database.write(insert(4))
        assert await database.read(numbers) == [1, 2, 4]


async def test_a_reader_cannot_write(tmp_path: Path) -> None:
    async with await Database.open(tmp_path / "records.db", [NUMBERS]) as database:
        with pytest.raises(Unavailable):  # SQLITE_READONLY
            await database.read(insert(1))
        assert await database.read(numbers) == []


async def test_a_file_locked_by_another_process_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "records.db"
    async with await Database.open(path, [NUMBERS], busy_timeout_seconds=0.05) as database:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable) as caught:
            await database.write(insert(1), role="graph")
        assert caught.value.metadata == {"dependency": "graph"}
        assert await database.read(numbers) == []  # readers do not wait for writers
        other.execute("ROLLBACK")
        other.close()
        assert await database.write(insert(1)) == 1


async def test_a_closed_database_is_unavailable_and_can_be_closed_again(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "records.db", [NUMBERS])
    await database.close()
    await database.close()
    for call in (database.write(insert(1)), database.read(numbers), database.ping()):
        with pytest.raises(Unavailable):
            await call


async def test_what_was_accepted_is_written_before_the_database_closes(tmp_path: Path) -> None:
    path = tmp_path / "records.db"
    database = await Database.open(path, [NUMBERS])
    writes = [asyncio.create_task(database.write(insert(n))) for n in range(100)]
    await asyncio.sleep(0)
    await database.close()
    assert len(await asyncio.gather(*writes)) == 100
    async with await Database.open(path, [NUMBERS]) as again:
        assert len(await again.read(numbers)) == 100


async def test_an_older_schema_is_brought_forward_and_keeps_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "records.db"
    async with await Database.open(path, [NUMBERS]) as database:
        await database.write(insert(7))
    newer = Schema("numbers", (*NUMBERS.steps, ("ALTER TABLE numbers ADD COLUMN word TEXT DEFAULT 'x'",)))
    async with await Database.open(path, [newer]) as database:
        assert await database.read(lambda c: c.execute("SELECT n, word FROM numbers").fetchall()) == [(7, "x")]


async def test_a_newer_schema_is_refused_in_one_sentence_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "records.db"
    newer = Schema("numbers", (*NUMBERS.steps, ("CREATE TABLE later (x)",)))
    async with await Database.open(path, [newer]):
        pass
    other = Schema("other", (("CREATE TABLE other (x)",),))
    with pytest.raises(FailedPrecondition, match="numbers store has schema version 2, written by a newer"):
        await Database.open(path, [other, NUMBERS])
    async with await Database.open(path, [newer]) as database:
        tables = await database.read(lambda c: c.execute("SELECT name FROM sqlite_master").fetchall())
    assert ("other",) not in tables


async def test_a_step_that_fails_leaves_the_old_version(tmp_path: Path) -> None:
    path = tmp_path / "records.db"
    broken = Schema("numbers", (*NUMBERS.steps, ("CREATE TABLE later (x)", "CREATE TABLE numbers (n)")))
    async with await Database.open(path, [NUMBERS]) as database:
        await database.write(insert(1))
    with pytest.raises(Internal):
        await Database.open(path, [broken])
    async with await Database.open(path, [NUMBERS]) as database:
        assert await database.read(numbers) == [1]


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "records.db"
    path.write_bytes(b"these are not the pages you are looking for" * 100)
    with pytest.raises(FailedPrecondition, match="is not a database"):
        await Database.open(path, [NUMBERS])


_CHILD = """
import asyncio, sys
from pathlib import Path
from ragmesh_backends.sqlite.database import Database
from ragmesh_backends.sqlite.schema import Schema
STEPS = Schema("numbers", (("CREATE TABLE numbers (n INTEGER PRIMARY KEY)",), ("CREATE TABLE b (x)",)))
async def main():
    sys.stdin.readline()
    async with await Database.open(Path(sys.argv[1]), [STEPS]) as database:
        first = int(sys.argv[2])
        for n in range(first, first + 20):
            await database.write(lambda c: c.execute("INSERT INTO numbers VALUES (?)", (n,)))
asyncio.run(main())
"""


async def test_processes_that_make_the_file_at_once_take_turns(tmp_path: Path) -> None:
    path = tmp_path / "records.db"
    children = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", _CHILD, str(path), str(i * 100), stdin=asyncio.subprocess.PIPE
        )
        for i in range(3)
    ]
    for child in children:
        assert child.stdin is not None
        child.stdin.write(b"\n")
    async with asyncio.timeout(30):
        ended = await asyncio.gather(*(child.wait() for child in children))
    for child in children:
        assert child.stdin is not None
        child.stdin.close()
    assert ended == [0, 0, 0]
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT count(*) FROM numbers").fetchone() == (60,)
    assert connection.execute("SELECT * FROM schema_versions").fetchall() == [("numbers", 2)]
    connection.close()


_KILLED = """
import asyncio, sys
from pathlib import Path
from ragmesh_backends.sqlite.database import Database
from ragmesh_backends.sqlite.schema import Schema
NUMBERS = Schema("numbers", (("CREATE TABLE numbers (n INTEGER PRIMARY KEY)",),))
def pair(connection, n):
    connection.execute("INSERT INTO numbers VALUES (?)", (2 * n,))
    connection.execute("INSERT INTO numbers VALUES (?)", (2 * n + 1,))
async def main():
    database = await Database.open(Path(sys.argv[1]), [NUMBERS])
    for n in range(1_000_000):
        await database.write(lambda c: pair(c, n))
        print(n, flush=True)
asyncio.run(main())
"""


async def test_after_kill_9_all_acknowledged_writes_are_there_and_none_is_half(tmp_path: Path) -> None:
    path = tmp_path / "records.db"
    acknowledged = await run_and_kill(_KILLED, str(path), after_lines=50)
    async with await Database.open(path, [NUMBERS]) as database:
        found = await database.read(numbers)
        assert await database.read(lambda c: c.execute("PRAGMA integrity_check").fetchone()) == ("ok",)
    assert len(found) % 2 == 0
    assert len(found) // 2 in {acknowledged, acknowledged + 1}
