"""The writer thread: takes all writes that wait, runs each inside a savepoint, and commits them together.

A write that fails is undone to its savepoint and fails alone; nobody is answered before the shared commit.
"""

from __future__ import annotations

import contextlib
import queue
import sqlite3
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

MAX_WAITING_WRITES = 1_024
_MAX_SHARED = 64
"""Writes in one commit: the last of them waits for all the others."""


class PendingWrite:
    """A transaction that waits for its turn, and the future that its caller awaits."""

    __slots__ = ("future", "run")

    def __init__(self, run: Callable[[sqlite3.Connection], Any]) -> None:
        self.run = run
        self.future: Future[Any] = Future()


def run_writer(connection: sqlite3.Connection, writes: queue.Queue[PendingWrite | None]) -> None:
    """Serve the queue until None comes out of it, then close the connection."""
    try:
        while True:
            group, last = _take(writes)
            wanted = [write for write in group if write.future.set_running_or_notify_cancel()]
            if wanted:
                _commit(connection, wanted)
            del group, wanted
            if last:
                return
    finally:
        connection.close()


def _take(writes: queue.Queue[PendingWrite | None]) -> tuple[list[PendingWrite], bool]:
    """Wait for one write, and take with it what waits behind it. True when the queue has ended."""
    group: list[PendingWrite] = []
    write = writes.get()
    while write is not None:
        group.append(write)
        if len(group) == _MAX_SHARED:
            return group, False
        try:
            write = writes.get_nowait()
        except queue.Empty:
            return group, False
    return group, True


def _commit(connection: sqlite3.Connection, group: list[PendingWrite]) -> None:
    values: list[tuple[PendingWrite, Any]] = []
    errors: list[tuple[PendingWrite, BaseException]] = []
    try:
        if connection.in_transaction:  # a rollback that failed itself
            connection.execute("ROLLBACK")
        connection.execute("BEGIN IMMEDIATE")
        for write in group:
            connection.execute("SAVEPOINT one")
            try:
                values.append((write, write.run(connection)))
            except Exception as failure:
                if not connection.in_transaction:
                    raise  # a full disk or a failed read undoes the whole transaction, the others' part too
                connection.execute("ROLLBACK TO one")
                errors.append((write, failure))
            connection.execute("RELEASE one")
        connection.execute("COMMIT")
    except Exception as failure:
        if connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):  # the group fails with the first error; tried again next time
                connection.execute("ROLLBACK")
        values, errors = [], [(write, failure) for write in group]
    for write, value in values:
        write.future.set_result(value)
    for write, error in errors:
        write.future.set_exception(error)
