"""Loading beside another process that releases."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from ragmesh_backends.vectors.connection import MilvusConnection
from ragmesh_backends.vectors.contract import common_pb2, milvus_pb2, schema_pb2
from ragmesh_backends.vectors.loading import Loading
from support.milvus import answering, method

NOT_LOADED = common_pb2.LoadState.LoadStateNotLoad
COMING = common_pb2.LoadState.LoadStateLoading
LOADED = common_pb2.LoadState.LoadStateLoaded


@dataclass
class Server:
    """A Milvus that tells these states, one after the other, and then that the collection is loaded."""

    states: list[common_pb2.LoadState]
    loads: int = field(default=0)

    async def describe(self, _: Any, __: Any) -> milvus_pb2.DescribeCollectionResponse:
        layout = schema_pb2.CollectionSchema(description="ragmesh layout 1")
        return milvus_pb2.DescribeCollectionResponse(schema=layout)

    async def load(self, _: Any, __: Any) -> common_pb2.Status:
        self.loads += 1
        return common_pb2.Status()

    async def state(self, _: Any, __: Any) -> milvus_pb2.GetLoadStateResponse:
        return milvus_pb2.GetLoadStateResponse(state=self.states.pop(0) if self.states else LOADED)

    async def loaded(self) -> None:
        methods = {
            "DescribeCollection": method(self.describe, milvus_pb2.DescribeCollectionRequest),
            "LoadCollection": method(self.load, milvus_pb2.LoadCollectionRequest),
            "GetLoadState": method(self.state, milvus_pb2.GetLoadStateRequest),
        }
        async with answering(methods) as address:
            connection = MilvusConnection(address, timeout_seconds=5.0)
            try:
                async with connection.bounded():
                    await Loading(connection, guest=False).load("c_1")
            finally:
                await connection.close()


async def test_what_another_process_released_before_it_was_seen_loaded_is_loaded_again() -> None:
    server = Server([NOT_LOADED, COMING, NOT_LOADED])
    await server.loaded()
    assert server.loads == 3


@pytest.mark.parametrize("states", [[], [COMING, COMING]])
async def test_a_server_that_takes_its_time_is_asked_to_load_once(states: list[common_pb2.LoadState]) -> None:
    server = Server(states)
    await server.loaded()
    assert server.loads == 1
