"""Looking at the collections of a Milvus server that has many of them, or is slow. The server is one of the test's own:
milvus-lite answers at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from google.protobuf.message import Message

from ragmesh_backends.vectors.contract import common_pb2, milvus_pb2, schema_pb2
from ragmesh_backends.vectors.inspection import CONCURRENT, found_indexes
from ragmesh_servicekit.errors import MeshError, Unavailable
from support.milvus import answering, method


@dataclass
class Server:
    """Collections c_0, c_1, ... of a hundred rows. A call named in `hung` is never answered."""

    collections: int
    describe_seconds: float = 0.0
    hung: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    under_way: int = 0
    most: int = 0

    @property
    def names(self) -> list[str]:
        return [f"c_{number}" for number in range(self.collections)]

    async def reply(self, name: str) -> None:
        self.asked.append(name)
        if name in self.hung:
            await asyncio.Event().wait()

    async def show(self, _: Message, __: Any) -> Any:
        await self.reply("show")
        return milvus_pb2.ShowCollectionsResponse(collection_names=self.names)

    async def describe(self, request: Any, _: Any) -> Any:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await self.reply(request.collection_name)
            await asyncio.sleep(self.describe_seconds)
        finally:
            self.under_way -= 1
        if request.collection_name in self.refused:
            return milvus_pb2.DescribeCollectionResponse(status=common_pb2.Status(code=5, reason="no"))
        layout = schema_pb2.CollectionSchema(description="ragmesh layout 1")
        return milvus_pb2.DescribeCollectionResponse(schema=layout)

    async def query(self, request: Any, _: Any) -> Any:
        await self.reply(f"count {request.collection_name}")
        rows = schema_pb2.FieldData(field_name="count(*)")
        rows.scalars.long_data.data.append(100)
        return milvus_pb2.QueryResults(fields_data=[rows])

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Its address."""
        methods = {
            "ShowCollections": method(self.show, milvus_pb2.ShowCollectionsRequest),
            "DescribeCollection": method(self.describe, milvus_pb2.DescribeCollectionRequest),
            "Query": method(self.query, milvus_pb2.QueryRequest),
        }
        async with answering(methods) as address:
            yield address


async def test_many_collections_may_take_longer_than_one_call_and_few_are_asked_for_at_once() -> None:
    milvus = Server(200, describe_seconds=0.1)
    async with milvus.serving() as address:
        found = await found_indexes(address, [*milvus.names, "elsewhere"], timeout_seconds=0.8)
    assert [index.name for index in found] == milvus.names
    assert all(index.looked_at and index.rows is None and not index.newer for index in found)
    assert 1 < milvus.most <= CONCURRENT
    assert not [name for name in milvus.asked if name.startswith("count")]


async def test_rows_are_counted_when_that_is_asked() -> None:
    milvus = Server(3)
    async with milvus.serving() as address:
        found = await found_indexes(address, milvus.names, counted=True)
    assert [index.rows for index in found] == [100, 100, 100]


async def test_what_there_was_no_time_for_is_there_and_not_looked_at() -> None:
    milvus = Server(40, hung={"count c_5"})
    async with milvus.serving() as address:
        found = await found_indexes(address, milvus.names, counted=True, whole_seconds=1.0)
    assert [index.name for index in found if not index.looked_at] == ["c_5"]


@pytest.mark.parametrize("hung", ["show", "c_7"])
async def test_a_call_that_is_not_answered_is_the_store_that_does_not_answer(hung: str) -> None:
    milvus = Server(40, hung={hung})
    async with milvus.serving() as address:
        with pytest.raises(Unavailable, match="vectors store"):
            await found_indexes(address, milvus.names, timeout_seconds=0.3)


async def test_a_refusal_is_one_error_of_the_mesh() -> None:
    milvus = Server(40, refused={"c_3", "c_4"})
    async with milvus.serving() as address:
        with pytest.raises(MeshError):
            await found_indexes(address, milvus.names)
