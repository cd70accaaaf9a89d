"""Looks at the collections of a Milvus without loading any: their layouts and how many rows they hold.

Each call has a bound of its own, and CONCURRENT are under way at a time, so that a server with many collections is not
taken for one that does not answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from ragmesh_backends.vectors import requests, schema
from ragmesh_backends.vectors.connection import MilvusConnection, NotLoaded
from ragmesh_backends.vectors.contract import milvus_pb2
from ragmesh_servicekit.errors import FailedPrecondition

CONCURRENT = 16


@dataclass(frozen=True, slots=True)
class FoundIndex:
    """rows: as the store counts them; None when nobody asked, or when that would need it loaded. newer: the sentence
    that refuses it, empty for a layout that this program knows. looked_at: False when the time was over before; all
    that is known then is that it is there."""

    name: str
    rows: int | None
    newer: str
    looked_at: bool = True


async def found_indexes(
    address: str,
    names: list[str],
    *,
    counted: bool = False,
    timeout_seconds: float = 5.0,
    whole_seconds: float | None = None,
    token: str = "",
) -> list[FoundIndex]:
    """Of these, those that are there. timeout_seconds: of each call. whole_seconds: after which no more are looked at;
    None: all are. Raises Unavailable, FailedPrecondition and Internal as the vector store does.

    counted: ask for the rows, too. milvus-lite counts what it holds; a Milvus server's statistics leave out what was
    written last, so there only a collection that is loaded is counted.
    """
    connection = MilvusConnection(address, timeout_seconds=timeout_seconds, token=token)
    rows = _rows_of(connection, address) if counted else None
    until = None if whole_seconds is None else asyncio.get_running_loop().time() + whole_seconds
    try:
        async with connection.bounded():
            shown = await connection.call(
                "ShowCollections", milvus_pb2.ShowCollectionsRequest(), milvus_pb2.ShowCollectionsResponse
            )
        there = set(shown.collection_names)
        found = {name: FoundIndex(name, None, "", looked_at=False) for name in names if name in there}
        ahead = iter(list(found))

        async def look() -> None:
            for name in ahead:
                found[name] = await _found(connection, name, rows)

        try:
            async with asyncio.timeout_at(until), asyncio.TaskGroup() as lookers:
                for _ in range(min(CONCURRENT, len(found))):
                    lookers.create_task(look(), name="vectors.inspect")
        except TimeoutError:
            pass  # the others stay as not looked at
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors
        return list(found.values())
    finally:
        await connection.close()


async def _found(
    connection: MilvusConnection, name: str, rows: Callable[[str], Awaitable[int | None]] | None
) -> FoundIndex:
    about = milvus_pb2.DescribeCollectionRequest(collection_name=name)
    async with connection.bounded():
        described = await connection.call("DescribeCollection", about, milvus_pb2.DescribeCollectionResponse)
    try:
        schema.require_known_layout(described.schema.description)
    except FailedPrecondition as error:
        return FoundIndex(name, None, error.message)
    return FoundIndex(name, await rows(name) if rows is not None else None, "")


def _rows_of(connection: MilvusConnection, address: str) -> Callable[[str], Awaitable[int | None]]:
    """How this kind of store counts."""

    async def by_statistics(name: str) -> int | None:
        ask = milvus_pb2.GetCollectionStatisticsRequest(collection_name=name)
        async with connection.bounded():
            reply = await connection.call("GetCollectionStatistics", ask, milvus_pb2.GetCollectionStatisticsResponse)
        return next((int(pair.value) for pair in reply.stats if pair.key == "row_count"), None)

    async def by_query(name: str) -> int | None:
        async with connection.bounded():
            try:
                counted = await connection.call("Query", requests.count(name), milvus_pb2.QueryResults)
            except NotLoaded:
                return None
        rows: int = sum(counted.fields_data[0].scalars.long_data.data)
        return rows

    return by_statistics if address.startswith("unix:") else by_query
