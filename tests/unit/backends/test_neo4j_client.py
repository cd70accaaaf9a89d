"""The Neo4j client: what it does when the server is away, hung, newer or full of rivals."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from ragmesh_backends.neo4j.client import Neo4j, Transaction, rows
from ragmesh_backends.neo4j.schema import Schema
from ragmesh_servicekit import deadline
from ragmesh_servicekit.errors import DeadlineExceeded, FailedPrecondition, Internal, InvalidArgument, Unavailable
from support import neo4j
from support.proxy import FaultProxy, Harm

WRONG = "not-the-password"


@asynccontextmanager
async def answering(reply: bytes | None) -> AsyncIterator[str]:
    """A server that answers every connection with some bytes and closes it, or with None accepts and never answers."""
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if reply is None:
                await over.wait()
            else:
                await reader.read(20)
                writer.write(reply)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        host, port = server.sockets[0].getsockname()[:2]
        yield f"bolt://{host}:{port}"
    finally:
        over.set()
        server.close()


async def test_an_address_of_another_kind_is_refused_without_its_password() -> None:
    for address in ("http://host:1", "neo4j://host:1", "bolt://neo4j:hidden@host:1", "bolt://host?a=b", "host", ""):
        with pytest.raises(InvalidArgument) as caught:
            await Neo4j.connect(address, "neo4j", "hidden", []).awaited()
        assert "hidden" not in caught.value.message


async def test_a_server_that_is_not_there_is_unavailable_after_the_wait() -> None:
    with pytest.raises(Unavailable):
        await Neo4j.connect("bolt://127.0.0.1:1", "neo4j", "x", []).awaited(0.2)


BOLT_5_4 = b"\x00\x00\x04\x05"


@pytest.mark.parametrize(
    "reply",
    [
        None,
        b"",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x00\x00\x00\x00",
        b"\xff" * 64,
        BOLT_5_4,
        BOLT_5_4 + b"\x00\x04\xff\xff\xff\xff\x00\x00",
        BOLT_5_4 + b"\x00\x02\xb1\x70\x00\x00",
        BOLT_5_4 + b"\x00\x04\xb1\x70\x81\xff\x00\x00",
    ],
)
async def test_a_peer_that_hangs_or_talks_rubbish_is_unavailable(reply: bytes | None) -> None:
    async with answering(reply) as address:
        began = time.monotonic()
        with pytest.raises(Unavailable):
            await Neo4j.connect(address, "neo4j", "x", []).awaited(0.3)
        assert time.monotonic() - began < 3


@pytest.fixture
async def tenant() -> AsyncIterator[str]:
    name = f"client-{uuid4().hex}"
    yield name
    await neo4j.forget_tenants(name)


@pytest.fixture
async def client() -> AsyncIterator[Neo4j]:
    async with neo4j.opened() as opened:
        yield opened


async def count(client: Neo4j, tenant: str) -> int:
    async def work(transaction: Transaction) -> int:
        [row] = await rows(transaction, "MATCH (n:Scratch {tenant: $tenant}) RETURN count(n) AS n", tenant=tenant)
        found: int = row["n"]
        return found

    return await client.read(work)


@asynccontextmanager
async def through_proxy() -> AsyncIterator[tuple[Neo4j, FaultProxy]]:
    neo4j.require()
    async with FaultProxy("127.0.0.1:0", neo4j.URI.partition("://")[2]) as proxy:
        address = f"bolt://{proxy.address}"
        client = Neo4j.connect(address, neo4j.USER, neo4j.PASSWORD, [], max_connections=2)
        async with await client.awaited():
            yield client, proxy


CREATE = "CREATE (:Scratch {tenant: $tenant})"


class TestWithAServer:
    pytestmark = neo4j.needed

    async def test_a_wrong_password_is_said_but_not_named(self) -> None:
        neo4j.require()
        with pytest.raises(FailedPrecondition, match="password") as caught:
            await Neo4j.connect(neo4j.URI, neo4j.USER, WRONG, []).awaited()
        assert WRONG not in caught.value.message

    async def test_a_transaction_that_raises_leaves_nothing(self, client: Neo4j, tenant: str) -> None:
        async def work(transaction: Transaction) -> None:
            await rows(transaction, CREATE, tenant=tenant)
            raise KeyError("mine")

        with pytest.raises(KeyError):
            await client.write(work)
        assert await count(client, tenant) == 0

    async def test_a_read_cannot_write(self, client: Neo4j, tenant: str) -> None:
        with pytest.raises(Internal):
            await client.read(lambda transaction: rows(transaction, CREATE, tenant=tenant))
        assert await count(client, tenant) == 0

    async def test_a_cancelled_write_leaves_nothing_half_done_and_the_client_serves_on(
        self, client: Neo4j, tenant: str
    ) -> None:
        written = asyncio.Event()

        async def work(transaction: Transaction) -> None:
            await rows(transaction, CREATE, tenant=tenant)
            written.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(client.write(work))
        await written.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await client.ping()
        assert await count(client, tenant) == 0

    async def test_a_statement_that_takes_too_long_ends_at_its_cap_or_at_the_deadline(self, client: Neo4j) -> None:
        async def slow(transaction: Transaction) -> None:
            await rows(transaction, "UNWIND range(1, 1000000000) AS x WITH x WHERE x < 0 RETURN count(x)")

        began = time.monotonic()
        with pytest.raises(Unavailable):
            await client.read(slow, cap_seconds=0.2)
        with deadline.scope(0.2), pytest.raises(DeadlineExceeded):
            await client.read(slow)
        assert time.monotonic() - began < 3
        await client.ping()

    async def test_two_that_lock_crosswise_both_get_through(self, client: Neo4j, tenant: str) -> None:
        for name in ("a", "b"):
            await client.write(
                lambda transaction, name=name: rows(
                    transaction, "CREATE (:Scratch {tenant: $tenant, name: $name, n: 0})", tenant=tenant, name=name
                )
            )
        attempts = 0
        both = asyncio.Barrier(2)

        async def work(transaction: Transaction, *names: str) -> None:
            nonlocal attempts
            attempts += 1
            for name in names:
                cypher = "MATCH (s:Scratch {tenant: $tenant, name: $name}) SET s.n = s.n + 1"
                await rows(transaction, cypher, tenant=tenant, name=name)
                if attempts <= 2 and name == names[0]:
                    await both.wait()

        await asyncio.gather(
            client.write(lambda transaction: work(transaction, "a", "b")),
            client.write(lambda transaction: work(transaction, "b", "a")),
        )
        cypher = "MATCH (s:Scratch {tenant: $tenant}) RETURN s.n AS n"
        found = await client.read(lambda transaction: rows(transaction, cypher, tenant=tenant))
        assert [row["n"] for row in found] == [2, 2]
        assert attempts == 3

    @pytest.mark.parametrize("kind", ["down", "reset_peer", "timeout", "rubbish", "limit_data"])
    @pytest.mark.parametrize("moment", ["idle", "begun", "written"])
    async def test_a_connection_that_dies_is_unavailable_and_the_next_call_is_served(
        self, tenant: str, kind: str, moment: str
    ) -> None:
        async with through_proxy() as (client, proxy):

            async def work(transaction: Transaction) -> None:
                if moment == "begun":
                    await proxy.harm(Harm(kind, limit_bytes=3))
                await rows(transaction, CREATE, tenant=tenant)
                if moment == "written":
                    await proxy.harm(Harm(kind, limit_bytes=3))
                await rows(transaction, CREATE, tenant=tenant)

            await client.ping()
            if moment == "idle":
                await proxy.harm(Harm(kind, limit_bytes=3))
            with pytest.raises(Unavailable):
                await client.write(work, cap_seconds=0.5)
            await proxy.heal()
            await client.ping(cap_seconds=5)
            assert await count(client, tenant) == 0

    async def test_a_commit_whose_reply_is_lost_is_unavailable_and_was_made(self, tenant: str) -> None:
        async with through_proxy() as (client, proxy):

            async def work(transaction: Transaction) -> None:
                await rows(transaction, CREATE, tenant=tenant)
                await proxy.harm(Harm("lose_reply"))

            with pytest.raises(Unavailable):
                await client.write(work, cap_seconds=2)
            await proxy.heal()
            async with asyncio.timeout(5):
                while await count(client, tenant) != 1:  # noqa: ASYNC110  # another process: there is no event
                    await asyncio.sleep(0.02)

    async def test_a_closed_client_is_unavailable(self) -> None:
        async with neo4j.opened() as client:
            pass
        await client.close()
        with pytest.raises(Unavailable, match="closed"):
            await client.ping()

    async def test_a_schema_moves_forward_once_with_two_starting_at_the_same_moment(self, tenant: str) -> None:
        label = f"Scratch{uuid4().hex}"
        component = f"test-{uuid4().hex}"
        make = f"CREATE CONSTRAINT {label} IF NOT EXISTS FOR (n:{label}) REQUIRE (n.tenant, n.name) IS UNIQUE"
        neo4j.require()
        fill = f"MERGE (n:{label} {{tenant: '{tenant}', name: 'x'}})"
        first, second = Schema(component, ((make,),)), Schema(component, ((make,), (fill,)))
        try:
            for schema in (first, second, second):

                async def once(schema: Schema = schema) -> None:
                    async with neo4j.opened(schema):
                        pass

                await asyncio.gather(*(once() for _ in range(3)))
            async with neo4j.opened() as client:
                found = await client.read(
                    lambda transaction: rows(transaction, f"MATCH (n:{label}) RETURN n.name AS n")
                )
                assert found == [{"n": "x"}]
            with pytest.raises(FailedPrecondition, match="version 2, written by a newer ragmesh"):
                async with neo4j.opened(first):
                    pass
        finally:
            async with neo4j.opened() as client:
                await client.write(lambda transaction: rows(transaction, f"DROP CONSTRAINT {label} IF EXISTS"))
                forget = "MATCH (v:SchemaVersion {component: $component}) DELETE v"
                await client.write(lambda transaction: rows(transaction, forget, component=component))
