"""The layout version of everything that the mesh keeps in the Redis for state: jobs, queue, hidden versions.

One number for the whole store, in the key `ragmesh:schema`, because one backup and one Redis hold all of it. A store
that has data and no number was written before there were numbers: that is layout 1. Check, migration and the new
number are one script, so two processes that start at once take turns, and the second finds nothing left to do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog
from redis.asyncio import Redis

from ragmesh_backends.redis.client import SOCKET_SECONDS, bounded, require_durable
from ragmesh_backends.redis.script import Script
from ragmesh_servicekit.errors import FailedPrecondition, Unavailable
from ragmesh_servicekit.opening import refuses_login
from ragmesh_servicekit.resilience.guard import Guard

log = structlog.get_logger()

KEY = "ragmesh:schema"
FIRST = 1

STEPS: tuple[str, ...] = ()
"""STEPS[n] is the Lua that leads from layout n + 1 to n + 2. One that has been released is never edited, and each bears
repetition: a store that lost its data while processes wrote on has data of the newest layout and no number."""

RETRY_SECONDS = 0.5
LOOK_SECONDS = 2.0
"""The longest wait of one attempt, for who repeats it."""

_OPEN = """
local newest = tonumber(ARGV[1])
local found = tonumber(redis.call('GET', KEYS[1]) or '')
if not found then
  found = redis.call('DBSIZE') == 0 and newest or {first}
elseif found >= newest then
  return found
end
{steps}
redis.call('SET', KEYS[1], newest)
return newest
"""


async def open_layout(
    client: Redis, *, name: str = "state", steps: Sequence[str] = STEPS, wait_seconds: float = 30.0
) -> None:
    """Bring the store forward to the layout that this program knows; waits for one that is still starting.

    client: with decoded replies. name: the dependency's role. Raises FailedPrecondition when a newer program wrote the
    store, which then is unchanged; Unavailable when it does not answer within wait_seconds, or refuses the login.
    """
    newest = FIRST + len(steps)
    _require_known(await _answered(client, _script(steps), newest, name, wait_seconds), newest)


async def look_at_state(client: Redis, *, durable: bool) -> None:
    """One attempt to bring the Redis for state forward, for a process that repeats it until the store answers. durable:
    whether it must keep what it acknowledges. Raises as open_layout and require_durable."""
    if durable:
        await require_durable(client, name="state", wait_seconds=LOOK_SECONDS)
    await open_layout(client, wait_seconds=LOOK_SECONDS)


async def require_known_layout(client: Redis, *, name: str = "state", steps: Sequence[str] = STEPS) -> int | None:
    """The store's layout, None when it has no number; changes nothing. Raises as open_layout, without waiting."""
    async with bounded(Guard(name), name, SOCKET_SECONDS):
        text = await client.get(KEY)
    if text is None:
        return None
    _require_known(int(text), FIRST + len(steps))
    return int(text)


def _require_known(found: int, newest: int) -> None:
    if found > newest:
        raise FailedPrecondition(
            f"the Redis for state ({KEY}) has layout {found}, written by a newer ragmesh; this one knows layout "
            f"{newest}: run the newer program or restore a backup"
        )


def _script(steps: Sequence[str]) -> Script:
    bodies = (f"if found == {FIRST + at} then\n{body}\nfound = {FIRST + at + 1}\nend" for at, body in enumerate(steps))
    return Script(_OPEN.format(first=FIRST, steps="\n".join(bodies)))


async def _answered(client: Redis, script: Script, newest: int, name: str, wait_seconds: float) -> int:
    """The script's reply, as soon as the store answers."""
    guard = Guard(name)  # without a breaker, which would open while the server starts
    try:
        async with asyncio.timeout(wait_seconds):
            while True:
                try:
                    async with bounded(guard, name, SOCKET_SECONDS):
                        return int(await script.run(client, KEY, newest))
                except Unavailable as error:
                    if refuses_login(error):
                        raise
                    log.debug("redis.waiting", dependency=name, message=error.message)
                await asyncio.sleep(RETRY_SECONDS)
    except TimeoutError as error:
        raise Unavailable.dependency(name, f"the {name} store did not answer within {wait_seconds:g} s") from error
