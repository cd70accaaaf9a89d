"""RedisVisibility: the hidden versions of each index, in one hash of Redis.

    <version>:<document id>   1 hidden; 0 shown since the set was lost
    complete                  a random mark: the set holds everything that is hidden
    revision                  counts changes

A hash without `complete` is what is left after Redis lost its data: it says nothing about what it does not name, so
readers are told None and ask the record store. What is hidden and shown meanwhile is kept for a minute after the last
such change, because a `rebuild` from a record that was read before it must not undo it.

Readers keep the set in process and ask only whether `complete` and `revision` are still theirs: a search costs one
short command while nothing changes, and is never behind what was published before it began.
"""

from __future__ import annotations

import json
import secrets
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from ragmesh_backends.model.collection import IndexRef
from ragmesh_backends.model.document import DocumentVersion
from ragmesh_backends.redis.client import bounded
from ragmesh_backends.redis.script import Script
from ragmesh_servicekit.errors import Reason, Unavailable
from ragmesh_servicekit.resilience.guard import Guard
from ragmesh_servicekit.telemetry.tracing import span

DEPENDENCY = "visibility"
COMMAND_SECONDS = 5.0

MAX_HIDDEN = 100_000
"""Versions of one index. More documents than that may not wait to be ingested: reading them would cost a search tens
of milliseconds after each change."""

MAX_CACHED_INDEXES = 64
VERSIONS_PER_SCRIPT = 2_000

# KEYS: the hash. ARGV: limit, how many are shown, those, then those to hide. Reply: 1, or 0 when it is full; showing,
# and hiding what replaces it, is never refused.
_CHANGE = Script(
    """
local key, limit, shown = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2])
local complete = redis.call('HEXISTS', key, 'complete') == 1
local size = redis.call('HLEN', key) + #ARGV - 2
if complete and shown == 0 and size > limit then return 0 end
if not complete and size > limit then redis.call('DEL', key) end
for at = 3, 2 + shown do
  if complete then redis.call('HDEL', key, ARGV[at]) else redis.call('HSET', key, ARGV[at], '0') end
end
for at = 3 + shown, #ARGV do redis.call('HSET', key, ARGV[at], '1') end
redis.call('HINCRBY', key, 'revision', 1)
if not complete then redis.call('EXPIRE', key, 60) end
return 1
"""
)

# KEYS: the hash. ARGV: new mark, versions that the record hides. What changed since the set was lost has the last word.
_REBUILD = Script(
    """
local key = KEYS[1]
if redis.call('HEXISTS', key, 'complete') == 1 then return 0 end
for at = 2, #ARGV do redis.call('HSETNX', key, ARGV[at], '1') end
local all = redis.call('HGETALL', key)
for at = 1, #all, 2 do
  if all[at + 1] == '0' then redis.call('HDEL', key, all[at]) end
end
redis.call('HSET', key, 'complete', ARGV[1])
redis.call('HINCRBY', key, 'revision', 1)
redis.call('PERSIST', key)
return 1
"""
)

# KEYS: the hash. ARGV: the reader's mark and revision. Reply: {mark, revision}, and the names as JSON when either
# differs; {} when the set is not complete.
_READ = Script(
    """
local state = redis.call('HMGET', KEYS[1], 'complete', 'revision')
if not state[1] then return {} end
if state[1] == ARGV[1] and state[2] == ARGV[2] then return state end
return {state[1], state[2], cjson.encode(redis.call('HKEYS', KEYS[1]))}
"""
)


@dataclass(frozen=True, slots=True)
class _Known:
    mark: str
    revision: str
    versions: frozenset[DocumentVersion]


class RedisVisibility:
    """The sets of all indexes. state: a client with decoded replies (`connect`), the caller's to close.
    guard: of that Redis; None makes one without a breaker.

    Every method raises Unavailable (dependency `visibility`) when Redis does not answer, DeadlineExceeded when the
    request in hand ran out of time, and bears repetition.
    """

    def __init__(self, state: Redis, *, guard: Guard | None = None, max_hidden: int = MAX_HIDDEN) -> None:
        self._state = state
        self._guard = guard or Guard("state")
        self._max_hidden = max_hidden
        self._known: OrderedDict[IndexRef, _Known] = OrderedDict()

    async def ping(self) -> None:
        """Return when the store answers."""
        async with bounded(self._guard, DEPENDENCY, COMMAND_SECONDS, probe=True):
            await self._state.ping()

    async def hide(self, index: IndexRef, versions: Sequence[DocumentVersion]) -> None:
        """No search that starts after the return shows these. Unavailable (OVERLOADED) when the index has 100,000
        hidden versions already; some of these may then be hidden."""
        with span("visibility.hide", db_system_name="redis", ragmesh_versions=len(versions)):
            for at in range(0, len(versions), VERSIONS_PER_SCRIPT):
                part = versions[at : at + VERSIONS_PER_SCRIPT]
                if not await self._run(_CHANGE, index, self._max_hidden, 0, *map(_name, part)):
                    raise Unavailable(
                        f"more than {self._max_hidden:,} documents of the collection wait to be ingested; "
                        "try again later",
                        reason=Reason.OVERLOADED,
                        metadata={"dependency": DEPENDENCY},
                    )

    async def flip(self, index: IndexRef, show: Sequence[DocumentVersion], hide: Sequence[DocumentVersion]) -> None:
        """Show some and hide others in one step: no reader sees a state in between. Who is in both is hidden."""
        if show or hide:
            with span("visibility.flip", db_system_name="redis", ragmesh_versions=len(show) + len(hide)):
                await self._run(_CHANGE, index, self._max_hidden, len(show), *map(_name, show), *map(_name, hide))

    async def forget(self, index: IndexRef, versions: Sequence[DocumentVersion]) -> None:
        """These have no rows any more and need not be hidden."""
        await self.flip(index, versions, ())

    async def hidden(self, index: IndexRef) -> frozenset[DocumentVersion] | None:
        """Everything that is hidden in the index now; None when that is not known, because the set was never built or
        was lost: the record store knows."""
        known = self._known.get(index)
        with span("visibility.hidden", db_system_name="redis"):
            arguments = (known.mark, known.revision) if known is not None else ("", "")
            reply: list[str] = await self._run(_READ, index, *arguments)
            if not reply:
                self._known.pop(index, None)
                return None
            if len(reply) == 2 and known is not None:
                return known.versions
            names: list[str] = json.loads(reply[2])
            versions = frozenset(_version(name) for name in names if name not in {"complete", "revision"})
        self._known[index] = _Known(reply[0], reply[1], versions)
        self._known.move_to_end(index)
        if len(self._known) > MAX_CACHED_INDEXES:
            self._known.popitem(last=False)
        return versions

    async def rebuild(self, index: IndexRef, versions: Iterable[DocumentVersion]) -> None:
        """Make the set complete; one that is complete stays as it is. versions: what the record store hides, read a
        moment ago; what was hidden or shown here since the set was lost is newer and stays."""
        with span("visibility.rebuild", db_system_name="redis"):
            await self._run(_REBUILD, index, secrets.token_hex(8), *map(_name, versions))

    async def drop(self, index: IndexRef) -> None:
        """Forget the index."""
        self._known.pop(index, None)
        async with bounded(self._guard, DEPENDENCY, COMMAND_SECONDS):
            await self._state.delete(_key(index))

    async def _run(self, script: Script, index: IndexRef, *arguments: str | int) -> Any:
        async with bounded(self._guard, DEPENDENCY, COMMAND_SECONDS):
            return await script.run(self._state, _key(index), *arguments)


def _key(index: IndexRef) -> str:
    return f"ragmesh:hidden:{{{len(index.tenant)}:{index.tenant}:{index.name}}}"


def _name(version: DocumentVersion) -> str:
    return f"{version.version}:{version.document_id}"


def _version(name: str) -> DocumentVersion:
    number, _, document_id = name.partition(":")
    return DocumentVersion(document_id, int(number))
