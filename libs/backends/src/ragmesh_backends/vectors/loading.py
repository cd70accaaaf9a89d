"""How a collection comes into the store's memory and leaves it, beside other processes that do the same."""

from __future__ import annotations

import asyncio

import structlog

from ragmesh_backends.vectors import schema
from ragmesh_backends.vectors.connection import MilvusConnection, StoreRefused
from ragmesh_backends.vectors.contract import common_pb2, milvus_pb2
from ragmesh_servicekit.errors import NotFound

log = structlog.get_logger()

LOAD_POLL_SECONDS = 0.05


class Loading:
    """For use inside `connection.bounded`, whose cap bounds it.

    guest: of a process that works beside a mesh: what it found loaded is others', and never released by it."""

    def __init__(self, connection: MilvusConnection, *, guest: bool) -> None:
        self._connection = connection
        self._guest = guest
        self._others: set[str] = set()

    async def load(self, name: str) -> None:
        """Return when it was seen loaded. Only of a layout that this program knows: every use of a collection begins
        here.

        A server answers LoadCollection before it has loaded, so wait. What another process releases before it was
        seen loaded is loaded again: waiting alone would never end."""
        about = milvus_pb2.DescribeCollectionRequest(collection_name=name)
        described = await self._connection.call("DescribeCollection", about, milvus_pb2.DescribeCollectionResponse)
        schema.require_known_layout(described.schema.description)
        self._others.discard(name)
        if self._guest and await self.is_loaded(name):
            self._others.add(name)
            return
        request = milvus_pb2.LoadCollectionRequest(collection_name=name, replica_number=1)
        await self._connection.call("LoadCollection", request, common_pb2.Status)
        while (state := await self._state(name)) != common_pb2.LoadState.LoadStateLoaded:
            await asyncio.sleep(LOAD_POLL_SECONDS)  # another process loads, and tells nobody
            if state == common_pb2.LoadState.LoadStateNotLoad:
                await self._connection.call("LoadCollection", request, common_pb2.Status)

    async def is_loaded(self, name: str) -> bool:
        return bool(await self._state(name) == common_pb2.LoadState.LoadStateLoaded)

    async def release(self, name: str) -> None:
        """Unless it is others'. A store that refuses is no error."""
        if name in self._others:
            self._others.discard(name)
            return
        request = milvus_pb2.ReleaseCollectionRequest(collection_name=name)
        try:
            await self._connection.call("ReleaseCollection", request, common_pb2.Status)
        except (NotFound, StoreRefused) as error:
            # Dropped by another process meanwhile, most likely: nothing that the request in hand should fail for.
            log.info("vectors.release_refused", error=type(error).__name__)

    async def _state(self, name: str) -> int:
        """A common_pb2.LoadState."""
        ask = milvus_pb2.GetLoadStateRequest(collection_name=name)
        reply = await self._connection.call("GetLoadState", ask, milvus_pb2.GetLoadStateResponse)
        return int(reply.state)
