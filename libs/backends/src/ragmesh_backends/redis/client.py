"""Redis clients of the mesh, and what their failures mean.

redis-py's own defaults do not fit here: it retries every command 10 times (an XADD whose replies are lost twice is
then there three times), its pool is unbounded, and its socket time-out of 5 s ends every longer blocking read. So
time-outs, pool and retries are set here, once; the mesh retries in one place only, and that is not the driver.

A command that is cancelled leaves its reply on the wire, where the next caller would find it (redis-py #2624). The
driver closes such a connection now; a test of ours watches that it goes on doing so.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import structlog
from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from ragmesh_servicekit.errors import FailedPrecondition, Internal, InvalidArgument, Reason, Unavailable
from ragmesh_servicekit.opening import refuses_login
from ragmesh_servicekit.resilience.guard import Guard

log = structlog.get_logger()

CONNECT_SECONDS = 1.0
SOCKET_SECONDS = 5.0
"""The longest wait for bytes. `appendfsync always` on a busy disk takes tens of milliseconds, seconds at worst."""

MAX_BLOCK_SECONDS = 20.0
"""The longest that a blocking read may be asked to wait."""

LOGIN_SECONDS = 2.0
"""For a look whether a store takes the login; one that takes longer counts as away."""

POOL_WAIT_SECONDS = 2.0
"""For a free connection, before the caller is refused as overloaded."""

_NOT_NOW = re.compile(r"\b(MISCONF|NOREPLICAS|MASTERDOWN|LOADING|BUSY|UNKILLABLE|READONLY|OOM)\b")
"""Refusals that say something of the server's state and not of the command: full disk, replicas missing, and so on.
One that a script ran into has the script's words around it."""

_NO_WRITES = re.compile(r"\b(MISCONF|NOREPLICAS|READONLY|OOM)\b")
"""Of those, the ones of a server that still answers reads."""

_NO_LOGIN = re.compile(r"\b(NOAUTH|WRONGPASS)\b")
_NO_PERMISSION = re.compile(r"\bNOPERM\b")

_DOWN = (exceptions.ConnectionError, exceptions.TimeoutError, exceptions.ClusterDownError, exceptions.TryAgainError)
_WRITES_REFUSED = (exceptions.ReadOnlyError, exceptions.OutOfMemoryError)


def connect(
    url: str,
    *,
    decode_responses: bool = True,
    max_connections: int = 32,
    socket_seconds: float = SOCKET_SECONDS,
) -> Redis:
    """A client for short commands. Nothing is sent before the first of them; close it with `aclose`.

    url: `unix:///path` (`?db=1` for another database), `redis://[user:password@]host[:port]/0`, `rediss://...`.
    Raises InvalidArgument for anything else.
    """
    try:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=max_connections,
            timeout=POOL_WAIT_SECONDS,
            decode_responses=decode_responses,
            socket_timeout=socket_seconds,
            socket_connect_timeout=CONNECT_SECONDS,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            driver_info=None,  # no CLIENT SETINFO: Redis 6.2 does not know it
        )
    except ValueError as error:  # its text may hold the password
        raise InvalidArgument("a Redis address is `unix:///path` or `redis://host:port/0`") from error
    return Redis.from_pool(pool)


def connect_blocking(url: str, *, max_connections: int = 64) -> Redis:
    """A client for blocking reads and subscriptions, kept apart so that waiting never takes a connection from work."""
    return connect(url, max_connections=max_connections, socket_seconds=MAX_BLOCK_SECONDS + SOCKET_SECONDS)


@asynccontextmanager
async def bounded(
    guard: Guard, name: str, cap_seconds: float, *, waits_seconds: float = 0.0, probe: bool = False
) -> AsyncIterator[None]:
    """Send the commands inside through the server's guard, and let no error of the driver out.

    name: what the server is to this caller (`queue`). waits_seconds: how much of the cap a blocking read asks for.
    probe: a sign of life, which an open breaker lets through. Raises Unavailable with that name when the server is
    down, hung, full or not ready; DeadlineExceeded when the request in hand ran out of time; Internal for a command
    that the server refuses.
    """
    async with guard.call(cap_seconds, role=name, waits_seconds=waits_seconds, probe=probe):
        try:
            yield
        except RedisError as error:
            raise _translated(name, error) from error
        except OSError as error:
            raise Unavailable.dependency(name) from error


def _translated(name: str, error: RedisError) -> Unavailable | Internal:
    text = str(error)
    if isinstance(error, exceptions.MaxConnectionsError) or "No connection available" in text:
        return Unavailable(
            f"too many calls of the {name} store are under way; try again",
            reason=Reason.OVERLOADED,
            metadata={"dependency": name},
        )
    if isinstance(error, exceptions.InvalidResponse):  # what answers there does not speak as Redis does
        log.error("redis.rubbish", dependency=name, error=text[:200])
        return Unavailable.dependency(name)
    # To the driver a ConnectionError, and one of the opening of a connection is inside another.
    login = (error, error.__cause__, error.__context__)
    if any(isinstance(each, exceptions.AuthenticationError) for each in login) or _NO_LOGIN.search(text):
        return _refusal(name, "authentication", f"the {name} store refuses the user or the password of the mesh")
    if isinstance(error, exceptions.NoPermissionError) or _NO_PERMISSION.search(text):
        return _refusal(name, "permission", f"the {name} store does not permit the mesh's user what it needs")
    if isinstance(error, _DOWN):
        return Unavailable.dependency(name)
    if isinstance(error, _WRITES_REFUSED) or _NOT_NOW.search(text):
        log.error("redis.refused", dependency=name, error=text[:200])
        failure = Unavailable.dependency(name, f"the {name} store takes no writes now; try again later")
        if isinstance(error, _WRITES_REFUSED) or _NO_WRITES.search(text):
            failure.metadata["cause"] = "no_writes"  # it answers, and reads go on: nothing for a breaker
        return failure
    log.error("redis.command_refused", dependency=name, error=text[:200])
    return Internal(f"the {name} store refused a command that the mesh should not have sent")


def _refusal(name: str, cause: str, sentence: str) -> Unavailable:
    """It answers, and refuses until its operator has changed something: no breaker opens for that."""
    log.error("redis.refused", dependency=name, cause=cause)  # its text may hold the user
    return Unavailable.dependency(name, sentence, cause=cause)


async def require_login(client: Redis, guard: Guard, setting: str, *, cap_seconds: float = LOGIN_SECONDS) -> None:
    """For a store that a process serves without, and starts without: raises FailedPrecondition naming the setting when
    it answers now and refuses this process. One that does not answer is no error."""
    try:
        async with bounded(guard, guard.name, cap_seconds, probe=True):
            await client.ping()
    except Unavailable as error:
        if refuses_login(error):
            raise FailedPrecondition(f"{error.message}; see {setting}") from error


async def require_durable(client: Redis, *, name: str = "queue", wait_seconds: float = 30.0) -> None:
    """Refuse a Redis that may lose what it has acknowledged; waits for one that is still starting.

    Raises FailedPrecondition when it keeps no append-only file or evicts keys when it is full, Unavailable when it
    does not answer within wait_seconds, or refuses the login."""
    guard = Guard(name)  # without a breaker, which would open while the server starts
    try:
        async with asyncio.timeout(wait_seconds):
            persistence, memory = await _durability(client, guard)
    except TimeoutError as error:
        raise Unavailable.dependency(name, f"the {name} store did not answer within {wait_seconds:g} s") from error
    if not int(persistence.get("aof_enabled", 0)):
        raise FailedPrecondition(
            "the Redis for state keeps no append-only file, so accepted jobs would be lost with it: "
            "set `appendonly yes`"
        )
    policy = memory.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        raise FailedPrecondition(
            f"the Redis for state evicts keys when it is full (`maxmemory-policy {policy}`), so accepted jobs could "
            "vanish: set `maxmemory-policy noeviction`"
        )
    await _warn_of_late_writes(client, guard)


async def _durability(client: Redis, guard: Guard) -> tuple[dict[str, Any], dict[str, Any]]:
    """INFO rather than CONFIG GET, which managed servers forbid. Raises Unavailable for a refused login."""
    while True:
        try:
            async with bounded(guard, guard.name, SOCKET_SECONDS):
                return await client.info("persistence"), await client.info("memory")
        except Unavailable as error:
            if refuses_login(error):
                raise
            log.debug("redis.waiting", dependency=guard.name, message=error.message)
        await asyncio.sleep(0.5)


async def _warn_of_late_writes(client: Redis, guard: Guard) -> None:
    async with bounded(guard, guard.name, SOCKET_SECONDS):
        try:
            setting = await client.config_get("appendfsync")
        except ResponseError:
            return  # forbidden by the operator, who then has set it himself
    if setting.get("appendfsync") != "always":
        log.warning("redis.late_writes", appendfsync=setting.get("appendfsync"), dependency=guard.name)
