"""One Neo4j server for one process: a bounded pool, and whole transactions as functions.

The driver's own defaults do not fit here: it waits 60 s for a connection, repeats transactions for 30 s, and never
looks whether an idle connection is still alive. All of that is set here, once. A transaction is an async function of
`Transaction` that is committed when it returns; one that lost a lock to another is repeated, nothing else is.

A commit whose reply is lost, or whose caller is cancelled, may have happened or not
(https://github.com/neo4j/neo4j-python-driver/issues/1028): callers repeat writes, so each must bear repetition, which
means MERGE with keys that the caller chose.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import urlsplit

import structlog
from neo4j import READ_ACCESS, WRITE_ACCESS, AsyncDriver, AsyncGraphDatabase, AsyncSession
from neo4j.exceptions import ConfigurationError, ServiceUnavailable

from ragmesh_backends.neo4j.faults import Contended, from_driver, translate
from ragmesh_backends.neo4j.schema import Schema, migrate
from ragmesh_backends.neo4j.transaction import Transaction, rows
from ragmesh_servicekit.deadline import within
from ragmesh_servicekit.errors import FailedPrecondition, InvalidArgument, Unavailable
from ragmesh_servicekit.opening import refuses_login
from ragmesh_servicekit.resilience.guard import Guard
from ragmesh_servicekit.telemetry import metrics
from ragmesh_servicekit.telemetry.tracing import span

log = structlog.get_logger()

__all__ = ["CALL_SECONDS", "Neo4j", "Transaction", "rows"]

T = TypeVar("T")
Work = Callable[[Transaction], Awaitable[T]]

CALL_SECONDS = 10.0
CONNECT_SECONDS = 5.0
POOL_WAIT_SECONDS = 5.0
"""For a free connection, before the caller is refused as overloaded."""

_LIVENESS_SECONDS = 30.0
_FETCH_ROWS = 10_000
"""Rows of one answer before the driver asks for more."""

_ATTEMPTS = 3
_FIRST_PAUSE_SECONDS = 0.1
_START_PAUSE_SECONDS = 0.5

# Not `neo4j://`: a cluster's followers may be behind, and nothing carries bookmarks from one process to the next.
_SCHEMES = frozenset({"bolt", "bolt+s", "bolt+ssc"})
_ADDRESSES = "a Neo4j address is `bolt://host:port`, or `bolt+s://host:port` with TLS"


class Neo4j:
    """The server behind the record, key and graph stores. Made by `connect`, closed by `close` or `async with`.

    Errors of `read` and `write`: whatever the function raises; Unavailable naming the role when the server is down,
    hung, refuses the password or too much waits; DeadlineExceeded; Internal for a wrong statement.
    """

    def __init__(
        self,
        driver: AsyncDriver,
        endpoint: str,
        database: str | None,
        guards: Sequence[Guard],
        schemas: Sequence[Schema] = (),
    ) -> None:
        self._driver = driver
        self._endpoint = endpoint
        self._database = database
        self._schemas = schemas
        self._guards = {guard.name: guard for guard in guards}
        self._closed = False

    @classmethod
    def connect(
        cls,
        uri: str,
        user: str,
        password: str,
        schemas: Sequence[Schema],
        *,
        database: str | None = None,
        guards: Sequence[Guard] = (),
        max_connections: int = 32,
    ) -> Self:
        """A client that has asked nothing yet: who uses it calls `look` or `awaited` first.

        uri: `bolt://host:port`, `bolt+s://...` with TLS; without user and password. database: None is the server's
        default. guards: one for each role that calls will name; a role without one gets a plain one.
        Raises InvalidArgument for another kind of address.
        """
        return cls(_driver(uri, user, password, max_connections), urlsplit(uri).netloc, database, guards, schemas)

    async def awaited(self, wait_seconds: float = 30.0) -> Self:
        """This client, once a server that may still be starting was looked at; closed when that fails.

        Raises as `look`, FailedPrecondition when the server refuses the password, and Unavailable when there is no
        answer within wait_seconds.
        """
        try:
            await _reach(self, wait_seconds)
        except BaseException:
            await self.close()
            raise
        return self

    async def look(self, *, cap_seconds: float = CONNECT_SECONDS) -> None:
        """One attempt to reach the server and to bring its constraints and indexes forward; bears repetition.

        cap_seconds: for the connection. Raises FailedPrecondition when the store is newer than this program,
        Unavailable when it does not answer or refuses the password. Not through the guards, which may be held.
        """
        try:
            async with asyncio.timeout(cap_seconds):
                await self._driver.verify_connectivity()
        except Exception as error:
            # Nothing but the driver's work: a name that is not resolved is a ValueError of its, for example.
            raise translate(error, "records") if from_driver(error) else Unavailable.dependency("records") from error
        await migrate(Neo4j(self._driver, self._endpoint, self._database, ()), self._schemas)

    async def write(self, work: Work[T], *, role: str = "records", cap_seconds: float = CALL_SECONDS) -> T:
        """Run a function as one transaction and return its value once it is on disk.

        The function runs again, in a new transaction, when the first one lost a lock. A task that is cancelled or runs
        out of time leaves nothing half-done, but may have been committed.
        """
        return await self._repeat(work, WRITE_ACCESS, role, "write", cap_seconds)

    async def read(self, work: Work[T], *, role: str = "records", cap_seconds: float = CALL_SECONDS) -> T:
        """Run a function as one transaction that cannot write. Each of its statements sees what was committed when it
        ran: only one statement is a snapshot."""
        return await self._repeat(work, READ_ACCESS, role, "read", cap_seconds)

    async def ping(self, *, role: str = "records", cap_seconds: float = 1.0) -> None:
        """Raise Unavailable unless the server answers a query."""
        if self._closed:
            raise _closed(role)
        await self._once(lambda transaction: rows(transaction, "RETURN 1"), READ_ACCESS, role, cap_seconds, probe=True)
        for guard in self._guards.values():  # one server: what answers one role is there for all
            guard.answered()

    async def close(self) -> None:
        """Close every connection. May be called twice."""
        if self._closed:
            return
        self._closed = True
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._driver.close()
        except TimeoutError:
            log.warning("neo4j.close_hung", endpoint=self._endpoint)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _repeat(self, work: Work[T], access: str, role: str, operation: str, cap_seconds: float) -> T:
        if self._closed:
            raise _closed(role)
        give_up_at = time.monotonic() + cap_seconds
        for attempt in range(_ATTEMPTS):
            left = max(0.001, give_up_at - time.monotonic())
            try:
                with span(f"{role}.{operation}", db_system_name="neo4j"):
                    return await self._once(work, access, role, left)
            except Contended as error:
                # Jitter of the whole pause: those who ran into each other must not do so again.
                pause = _FIRST_PAUSE_SECONDS * 2**attempt * random.uniform(0.5, 1.5)  # noqa: S311 - no secret
                if attempt + 1 == _ATTEMPTS or pause >= min(left, within(cap_seconds)):
                    raise Unavailable.dependency(role, error.message) from error
                log.info("neo4j.repeated", dependency=role, operation=operation, attempt=attempt + 1)
                metrics.RETRIED_CALLS.labels(role).inc()
                await asyncio.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    async def _once(self, work: Work[T], access: str, role: str, cap_seconds: float, *, probe: bool = False) -> T:
        guard = self._guards.get(role)
        if guard is None:
            guard = self._guards[role] = Guard(role, self._endpoint)
        async with guard.call(cap_seconds, probe=probe):
            try:
                async with self._driver.session(
                    default_access_mode=access, database=self._database, fetch_size=_FETCH_ROWS
                ) as session:
                    # The client's own clock runs out first; this frees the locks when the client is gone. 0 is "never".
                    timeout = max(0.001, within(cap_seconds))
                    async with await _begin(session, timeout) as transaction:
                        value = await work(transaction)
                        await transaction.commit()
                return value
            except Exception as error:
                if not from_driver(error):
                    raise
                raise translate(error, role) from error


def _closed(role: str) -> Unavailable:
    return Unavailable.dependency(role, f"the {role} store is closed")


async def _begin(session: AsyncSession, timeout_seconds: float) -> Transaction:
    """Nothing but the driver's work: a name that is not resolved is a ValueError of its, for example."""
    try:
        return await session.begin_transaction(timeout=timeout_seconds)
    except Exception as error:
        if from_driver(error):
            raise
        raise ServiceUnavailable("no connection") from error


def _driver(uri: str, user: str, password: str, max_connections: int) -> AsyncDriver:
    if urlsplit(uri).scheme not in _SCHEMES:
        raise InvalidArgument(_ADDRESSES)
    try:
        return AsyncGraphDatabase.driver(
            uri,
            auth=(user, password) if user else None,
            max_connection_pool_size=max_connections,
            connection_acquisition_timeout=POOL_WAIT_SECONDS,
            connection_timeout=CONNECT_SECONDS,
            connection_write_timeout=CONNECT_SECONDS,
            liveness_check_timeout=_LIVENESS_SECONDS,
            max_transaction_retry_time=0,
            telemetry_disabled=True,
            notifications_min_severity="OFF",
        )
    except (ConfigurationError, ValueError) as error:  # their text may hold the password
        raise InvalidArgument(_ADDRESSES) from error


async def _reach(client: Neo4j, wait_seconds: float) -> None:
    """Look until a server that is still starting answers."""
    give_up_at = time.monotonic() + wait_seconds
    told = False
    while True:
        try:
            await client.look(cap_seconds=max(0.001, min(CONNECT_SECONDS, give_up_at - time.monotonic())))
            return
        except Unavailable as error:
            if refuses_login(error):
                raise FailedPrecondition(error.message) from error
            if time.monotonic() + _START_PAUSE_SECONDS > give_up_at:
                raise
            if not told:
                log.info("neo4j.waiting", message=error.message)
            told = True
        await asyncio.sleep(_START_PAUSE_SECONDS)
