"""The versions of an index that readers must not see, in Redis: a small set, and a mark that it is whole.

Without the mark the set was lost or never made, and a reader asks the record instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from redis.asyncio import Redis

from ragmesh_backends.model.collection import IndexRef
from ragmesh_backends.model.document import DocumentVersion
from ragmesh_backends.redis.calls import calling

ROLE = "state"


class RedisVisibility:
    """One set for each index. Every change is one atomic step."""

    def __init__(self, client: Redis) -> None:
        self._client: Any = client

    async def ping(self) -> None:
        async with calling(ROLE, "ping"):
            await self._client.ping()

    async def hidden(self, index: IndexRef) -> frozenset[DocumentVersion] | None:
        """The hidden versions; None when the set is not whole."""
        hidden, mark = _keys(index)
        async with calling(ROLE, "hidden"):
            pipeline = self._client.pipeline(transaction=True)
            pipeline.exists(mark)
            pipeline.smembers(hidden)
            whole, members = await pipeline.execute()
        return frozenset(map(_version, members)) if whole else None

    async def hide(self, index: IndexRef, versions: Sequence[DocumentVersion]) -> None:
        """Hide versions."""
        await self.flip(index, (), versions)

    async def forget(self, index: IndexRef, versions: Sequence[DocumentVersion]) -> None:
        """Versions whose rows are gone need not be hidden any more."""
        await self.flip(index, versions, ())

    async def flip(self, index: IndexRef, show: Sequence[DocumentVersion], hide: Sequence[DocumentVersion]) -> None:
        """Show some and hide others in one step."""
        hidden, _ = _keys(index)
        if not show and not hide:
            return
        async with calling(ROLE, "flip"):
            pipeline = self._client.pipeline(transaction=True)
            if show:
                pipeline.srem(hidden, *map(_member, show))
            if hide:
                pipeline.sadd(hidden, *map(_member, hide))
            await pipeline.execute()

    async def rebuild(self, index: IndexRef, versions: Iterable[DocumentVersion]) -> None:
        """Make the set whole: what the record says, and what was hidden since."""
        hidden, mark = _keys(index)
        members = [_member(version) for version in versions]
        async with calling(ROLE, "rebuild"):
            pipeline = self._client.pipeline(transaction=True)
            if members:
                pipeline.sadd(hidden, *members)
            pipeline.set(mark, "1")
            await pipeline.execute()

    async def drop(self, index: IndexRef) -> None:
        """Forget the index."""
        async with calling(ROLE, "drop"):
            await self._client.delete(*_keys(index))


def _keys(index: IndexRef) -> tuple[str, str]:
    return f"{{hidden:{index.name}}}:versions", f"{{hidden:{index.name}}}:whole"


def _member(version: DocumentVersion) -> str:
    return f"{version.version}|{version.document_id}"


def _version(member: str) -> DocumentVersion:
    number, _, document_id = member.partition("|")
    return DocumentVersion(document_id, int(number))
