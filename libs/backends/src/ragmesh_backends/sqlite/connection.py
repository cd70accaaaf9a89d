"""How the file is opened: its mode, its journal, and what a commit means."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path

from ragmesh_backends.sqlite.faults import primary_code
from ragmesh_servicekit.errors import FailedPrecondition

_JOURNAL_SIZE_LIMIT_BYTES = 64 * 1024 * 1024


def prepare_file(path: Path) -> None:
    """Make the file readable by its owner only, before SQLite makes it by the umask. The -wal and -shm files
    inherit the mode."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    if path.stat().st_mode & 0o077:
        path.chmod(0o600)


def connect(path: Path, busy_timeout_seconds: float, *, query_only: bool) -> sqlite3.Connection:
    """A connection in autocommit mode: transactions are opened by hand.

    synchronous=FULL: in WAL mode NORMAL syncs at checkpoints only, so that a power cut would undo commits that were
    acknowledged already (https://www.sqlite.org/pragma.html#pragma_synchronous). FULL syncs the log at each
    commit; the writer makes up for it by sharing commits.
    """
    connection = sqlite3.connect(
        path,
        timeout=busy_timeout_seconds,
        isolation_level=None,
        check_same_thread=False,  # closed by the thread that closes the database
        cached_statements=256,
    )
    try:
        _write_ahead(connection, busy_timeout_seconds)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = ON")  # macOS: through the drive's cache as well
        connection.execute("PRAGMA checkpoint_fullfsync = ON")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute(f"PRAGMA journal_size_limit = {_JOURNAL_SIZE_LIMIT_BYTES}")
        connection.execute(f"PRAGMA cache_size = {-4_096 if query_only else -16_384}")  # negative: KiB
        if query_only:
            connection.execute("PRAGMA query_only = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def _write_ahead(connection: sqlite3.Connection, timeout_seconds: float) -> None:
    """Turn WAL on. The busy handler does not cover the switch itself, so that two processes which make the file at
    the same moment need a few tries."""
    give_up_at = time.monotonic() + timeout_seconds
    while True:
        try:
            mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        except sqlite3.OperationalError as error:
            if primary_code(error) not in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
                raise
            if time.monotonic() > give_up_at:
                raise
            time.sleep(0.02)
            continue
        if mode != "wal":
            raise FailedPrecondition("the file system of the records store has no shared memory, which WAL needs")
        return
