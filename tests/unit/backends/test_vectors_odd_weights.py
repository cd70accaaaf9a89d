"""What milvus-lite refuses when it reads its word counts while another call writes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from ragmesh_backends.model.collection import IndexRef
from ragmesh_backends.model.search import SearchFilter
from ragmesh_backends.vectors.contract import common_pb2, milvus_pb2, schema_pb2
from ragmesh_backends.vectors.milvus import ODD_WEIGHT_REPEATS, MilvusVectors
from ragmesh_servicekit.errors import Unavailable
from support.milvus import answering, method

NEGATIVE = 'Assert "element.val >= 0"  => Invalid sparse row: negative value'
NO_NUMBER = "Invalid sparse row: NaN value"


@dataclass
class Server:
    """A Milvus that refuses searches for these reasons, one after the other, and then finds nothing."""

    refusals: list[str]
    rows: int = 1
    searches: int = field(default=0)

    async def search(self, _: Any, __: Any) -> milvus_pb2.SearchResults:
        self.searches += 1
        if self.refusals:
            return milvus_pb2.SearchResults(status=common_pb2.Status(code=2000, reason=self.refusals.pop(0)))
        return milvus_pb2.SearchResults(results=schema_pb2.SearchResultData(num_queries=1))

    async def count(self, _: Any, __: Any) -> milvus_pb2.QueryResults:
        column = schema_pb2.FieldData(field_name="count(*)")
        column.scalars.long_data.data.append(self.rows)
        return milvus_pb2.QueryResults(fields_data=[column])

    async def describe(self, _: Any, __: Any) -> milvus_pb2.DescribeCollectionResponse:
        layout = schema_pb2.CollectionSchema(description="ragmesh layout 1")
        return milvus_pb2.DescribeCollectionResponse(schema=layout)

    async def load(self, _: Any, __: Any) -> common_pb2.Status:
        return common_pb2.Status()

    async def loaded(self, _: Any, __: Any) -> milvus_pb2.GetLoadStateResponse:
        return milvus_pb2.GetLoadStateResponse(state=common_pb2.LoadState.LoadStateLoaded)

    async def asked(self) -> int:
        """Ask for words once; how many passages were found."""
        methods = {
            "Search": method(self.search, milvus_pb2.SearchRequest),
            "Query": method(self.count, milvus_pb2.QueryRequest),
            "DescribeCollection": method(self.describe, milvus_pb2.DescribeCollectionRequest),
            "LoadCollection": method(self.load, milvus_pb2.LoadCollectionRequest),
            "GetLoadState": method(self.loaded, milvus_pb2.GetLoadStateRequest),
        }
        async with answering(methods) as address:
            vectors = MilvusVectors(address)
            try:
                return len(await vectors.bm25(IndexRef("acme", "c_1"), "parcel", 5, where=SearchFilter()))
            finally:
                await vectors.close()


@pytest.mark.parametrize("reason", [NEGATIVE, NO_NUMBER])
async def test_a_search_in_the_middle_of_a_write_is_asked_again(reason: str) -> None:
    server = Server([reason])
    assert await server.asked() == 0
    assert server.searches == 2


async def test_an_index_that_stays_odd_is_a_store_that_does_not_answer() -> None:
    server = Server([NEGATIVE] * 9)
    with pytest.raises(Unavailable):
        await server.asked()
    assert server.searches == 1 + ODD_WEIGHT_REPEATS


async def test_an_index_without_rows_is_not_asked_again() -> None:
    server = Server([NO_NUMBER], rows=0)
    assert await server.asked() == 0
    assert server.searches == 1


async def test_another_refusal_is_not_asked_again() -> None:
    server = Server(["segment not found"])
    with pytest.raises(Unavailable):
        await server.asked()
    assert server.searches == 1
