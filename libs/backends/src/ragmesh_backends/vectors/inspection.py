"""Looks at the collections of a Milvus without loading any: their layouts and how many rows they hold."""

from __future__ import annotations

from dataclasses import dataclass

from ragmesh_backends.vectors import requests, schema
from ragmesh_backends.vectors.connection import MilvusConnection, NotLoaded
from ragmesh_backends.vectors.contract import milvus_pb2
from ragmesh_servicekit.errors import FailedPrecondition


@dataclass(frozen=True, slots=True)
class FoundIndex:
    """rows: as the store counts them; None when that would need it loaded. newer: the sentence that refuses it, empty
    for a layout that this program knows."""

    name: str
    rows: int | None
    newer: str


async def found_indexes(
    address: str, names: list[str], *, timeout_seconds: float = 5.0, token: str = ""
) -> list[FoundIndex]:
    """Of these, those that are there. Raises Unavailable, FailedPrecondition and Internal as the vector store does.

    milvus-lite counts what it holds; a Milvus server's statistics leave out what was written last, so there only a
    collection that is loaded is counted.
    """
    connection = MilvusConnection(address, timeout_seconds=timeout_seconds, token=token)
    try:
        async with connection.bounded(timeout_seconds):
            shown = await connection.call(
                "ShowCollections", milvus_pb2.ShowCollectionsRequest(), milvus_pb2.ShowCollectionsResponse
            )
            there = set(shown.collection_names)
            return [await _found(connection, address, name) for name in names if name in there]
    finally:
        await connection.close()


async def _found(connection: MilvusConnection, address: str, name: str) -> FoundIndex:
    about = milvus_pb2.DescribeCollectionRequest(collection_name=name)
    described = await connection.call("DescribeCollection", about, milvus_pb2.DescribeCollectionResponse)
    try:
        schema.require_known_layout(described.schema.description)
    except FailedPrecondition as error:
        return FoundIndex(name, None, error.message)
    if address.startswith("unix:"):
        ask = milvus_pb2.GetCollectionStatisticsRequest(collection_name=name)
        reply = await connection.call("GetCollectionStatistics", ask, milvus_pb2.GetCollectionStatisticsResponse)
        rows = [int(pair.value) for pair in reply.stats if pair.key == "row_count"]
        return FoundIndex(name, rows[0] if rows else None, "")
    try:
        counted = await connection.call("Query", requests.count(name), milvus_pb2.QueryResults)
    except NotLoaded:
        return FoundIndex(name, None, "")
    return FoundIndex(name, sum(counted.fields_data[0].scalars.long_data.data), "")
