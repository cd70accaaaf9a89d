"""One SQLite file for one process: a writer thread, a few reader threads, whole transactions as functions.

A transaction is a plain function of a connection that runs from BEGIN to COMMIT inside one thread, so that no
await, and no cancelled task, can leave one half-done. SQLite has one writer for each file: a queue in front of one
connection makes the tasks of this process take turns without spinning on the lock, and lets all writes that
wait at the same moment share one commit and its sync. Other processes are held off by BEGIN IMMEDIATE and the
busy time-out.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from ragmesh_backends.sqlite.connection import connect, prepare_file
from ragmesh_backends.sqlite.faults import translate
from ragmesh_backends.sqlite.schema import Schema, migrate
from ragmesh_backends.sqlite.writer import MAX_WAITING_WRITES, PendingWrite, run_writer
from ragmesh_servicekit.deadline import dependency
from ragmesh_servicekit.errors import Unavailable
from ragmesh_servicekit.telemetry.tracing import span

T = TypeVar("T")

_MAX_WAITING_READS = 256


class Database:
    """The file behind the record, key and graph stores. Made by `open`, closed by `close` or `async with`.

    Errors of `read` and `write`: whatever the function raises when that is a MeshError; Unavailable naming the
    role when the file is locked, the disk fails or too much waits; DeadlineExceeded; Internal for a wrong statement.
    """

    def __init__(self, path: Path, writer: sqlite3.Connection, busy_timeout_seconds: float, readers: int) -> None:
        self._path = path
        self._busy_timeout_seconds = busy_timeout_seconds
        self._closed = False
        self._writes: queue.Queue[PendingWrite | None] = queue.Queue(MAX_WAITING_WRITES)
        self._writer = threading.Thread(
            target=run_writer, args=(writer, self._writes), name="sqlite-writer", daemon=True
        )
        self._writer.start()
        self._local = threading.local()
        self._reader_connections: list[sqlite3.Connection] = []
        self._reading = 0
        self._readers = ThreadPoolExecutor(readers, thread_name_prefix="sqlite-reader")

    @classmethod
    async def open(
        cls,
        path: Path,
        schemas: Sequence[Schema],
        *,
        readers: int = 2,
        busy_timeout_seconds: float = 5.0,
        open_cap_seconds: float = 60.0,
    ) -> Self:
        """Open the file, make it when it is missing, and bring its tables forward.

        Raises FailedPrecondition when the file is newer than this program or not a database.
        """

        def prepared() -> sqlite3.Connection:
            prepare_file(path)
            connection = connect(path, busy_timeout_seconds, query_only=False)
            try:
                migrate(connection, schemas)
            except BaseException:
                connection.close()
                raise
            return connection

        try:
            async with dependency("records", open_cap_seconds):
                writer = await asyncio.to_thread(prepared)
        except sqlite3.Error as error:
            raise translate(error, "records") from error
        except OSError as error:
            raise Unavailable.dependency("records", "the file of the records store cannot be opened") from error
        return cls(path, writer, busy_timeout_seconds, readers)

    async def write(
        self, transaction: Callable[[sqlite3.Connection], T], *, role: str = "records", cap_seconds: float = 15.0
    ) -> T:
        """Run a function as one transaction and return its value once it is on disk.

        A task that is cancelled, or runs out of time, before its turn leaves nothing behind; after that the
        transaction is finished as a whole without it: callers repeat writes, so each must bear repetition.
        """
        pending = PendingWrite(transaction)
        if self._closed:
            raise Unavailable.dependency(role, f"the {role} store is closed")
        try:
            self._writes.put_nowait(pending)
        except queue.Full as error:
            raise Unavailable.dependency(role, f"too many writes wait for the {role} store") from error
        try:
            async with _traced(role, "write", cap_seconds):
                value: T = await asyncio.wrap_future(pending.future)
        except sqlite3.Error as error:
            raise translate(error, role) from error
        return value

    async def read(
        self, query: Callable[[sqlite3.Connection], T], *, role: str = "records", cap_seconds: float = 5.0
    ) -> T:
        """Run a function against one snapshot of the file; it cannot write."""
        if self._closed:
            raise Unavailable.dependency(role, f"the {role} store is closed")
        if self._reading >= _MAX_WAITING_READS:
            raise Unavailable.dependency(role, f"too many reads wait for the {role} store")
        future = self._readers.submit(self._snapshot, query)
        # Counted until the thread is done with it, not until the caller stops waiting.
        self._reading += 1
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda _: _call_if_open(loop, self._read_done))
        try:
            async with _traced(role, "read", cap_seconds):
                return await asyncio.wrap_future(future)
        except sqlite3.Error as error:
            raise translate(error, role) from error

    async def ping(self, *, role: str = "records", cap_seconds: float = 1.0) -> None:
        """Raise Unavailable unless the file can be read."""
        await self.read(
            lambda connection: connection.execute("SELECT count(*) FROM sqlite_master").fetchone(),
            role=role,
            cap_seconds=cap_seconds,
        )

    async def close(self) -> None:
        """Finish what was accepted, then close every connection. May be called twice."""
        if self._closed:
            return
        self._closed = True
        await asyncio.to_thread(self._join)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _join(self) -> None:
        self._writes.put(None)
        self._writer.join()
        self._readers.shutdown(wait=True, cancel_futures=True)
        for connection in self._reader_connections:
            connection.close()

    def _read_done(self) -> None:
        self._reading -= 1

    def _snapshot(self, query: Callable[[sqlite3.Connection], T]) -> T:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = connect(self._path, self._busy_timeout_seconds, query_only=True)
            self._local.connection = connection
            self._reader_connections.append(connection)
        connection.execute("BEGIN")
        try:
            return query(connection)
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")


def _call_if_open(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    """Call back on the loop, unless it has ended: then there is nobody left to count for."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(callback)


@asynccontextmanager
async def _traced(role: str, operation: str, cap_seconds: float) -> AsyncIterator[None]:
    with span(f"{role}.{operation}", db_system_name="sqlite"):
        async with dependency(role, cap_seconds):
            yield
