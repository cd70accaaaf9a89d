"""What the graph on Neo4j must do beyond the suite of its port: give what SQLite gives, among rivals and cut off."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from ragmesh_backends.graphs.neo4j import NEO4J_GRAPH_SCHEMA, Neo4jGraph
from ragmesh_backends.graphs.sqlite import GRAPH_SCHEMA, SqliteGraph
from ragmesh_backends.model.collection import IndexRef
from ragmesh_backends.model.document import DocumentVersion
from ragmesh_backends.model.graph import ChunkEntities
from ragmesh_backends.neo4j.client import Neo4j, rows
from ragmesh_backends.sqlite.database import Database
from ragmesh_servicekit import deadline
from ragmesh_servicekit.errors import DeadlineExceeded
from support import neo4j

pytestmark = neo4j.needed
HUB = 6


@pytest.fixture
async def index() -> AsyncIterator[IndexRef]:
    found = IndexRef(f"graph-{uuid4().hex}", "ix")
    yield found
    await neo4j.forget_tenants(found.tenant)


@pytest.fixture
async def client() -> AsyncIterator[Neo4j]:
    async with neo4j.opened(NEO4J_GRAPH_SCHEMA) as opened:
        yield opened


def random_chunk(rng: random.Random, document: int, ordinal: int, version: int = 1) -> ChunkEntities:
    """Few words in few orders, a script outside the BMP among them, so that names meet, overlap and become hubs."""
    words = ["a", "b", "c", "d", "\ufb01n", "𞤀𞤁", "x" * 300, "x" * 255]

    def run(least: int, most: int) -> tuple[str, ...]:
        return tuple(rng.choice(words) for _ in range(rng.randint(least, most)))

    about = tuple(" ".join(run(1, 3)) for _ in range(rng.choice([0, 1, 1, 2])))
    return ChunkEntities(f"{document}:{version}:{ordinal}", f"d{document}", version, ordinal, about, run(0, 16))


@pytest.mark.parametrize("seed", range(4))
async def test_random_documents_have_the_same_links_as_in_sqlite(
    client: Neo4j, index: IndexRef, tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    on_neo4j = Neo4jGraph(client, hub_occurrences=HUB, targets_per_entity=3)
    async with await Database.open(tmp_path / "mesh.db", [GRAPH_SCHEMA]) as database:
        on_sqlite = SqliteGraph(database, hub_occurrences=HUB, targets_per_entity=3)
        for _ in range(10):
            if rng.random() < 0.3:
                doomed = [DocumentVersion(f"d{rng.randrange(12)}", rng.randint(1, 2)) for _ in range(3)]
                await on_neo4j.delete_versions(index, doomed)
                await on_sqlite.delete_versions(index, doomed)
            else:
                # Some are there already, the same or another text under the same id.
                chunks = [
                    random_chunk(rng, rng.randrange(12), rng.randrange(3), rng.randint(1, 2))
                    for _ in range(rng.randint(1, 9))
                ]
                await on_neo4j.write(index, chunks)
                await on_sqlite.write(index, chunks)
            ids = [f"{document}:{v}:{ordinal}" for document in range(12) for v in (1, 2) for ordinal in range(3)]
            for limit in (1_000, 4):
                assert await on_neo4j.links(index, ids, limit) == await on_sqlite.links(index, ids, limit)
            names = list({name for one in range(40) for name in random_chunk(random.Random(one), 0, 0).about})
            assert await on_neo4j.about(index, names, 20) == await on_sqlite.about(index, names, 20)


def link_words(n: int) -> ChunkEntities:
    return ChunkEntities(f"c{n}", f"d{n}", 1, 0, (f"name{n % 20}",), (f"name{(n + 1) % 20}", f"name{(n + 2) % 20}"))


async def test_writers_in_several_processes_at_once_keep_the_counts(client: Neo4j, index: IndexRef) -> None:
    """Each client is a process of its own to the server. Names become hubs and are rare again meanwhile."""
    chunks = [link_words(n) for n in range(80)]
    async with neo4j.opened() as second, neo4j.opened() as third:
        graphs = [Neo4jGraph(one, hub_occurrences=HUB) for one in (client, second, third)]
        await asyncio.gather(*(graphs[n % 3].write(index, chunks[n : n + 4]) for n in range(0, 80, 4)))
        doomed = [[DocumentVersion(f"d{n}", 1) for n in range(start, start + 10)] for start in range(40, 80, 10)]
        repeated = [graphs[n % 3].write(index, chunks[n : n + 10]) for n in range(0, 40, 10)]
        await asyncio.gather(*repeated, *(graphs[n % 3].delete_versions(index, some) for n, some in enumerate(doomed)))
    alone = IndexRef(index.tenant, "alone")
    graph = Neo4jGraph(client, hub_occurrences=HUB)
    await graph.write(alone, chunks[:40])
    ids = [one.chunk_id for one in chunks]
    assert await graph.links(index, ids, 1_000) == await graph.links(alone, ids, 1_000)
    assert await counts(client, index) == await counts(client, alone)


async def counts(client: Neo4j, index: IndexRef) -> list[dict[str, object]]:
    cypher = """
    MATCH (e:GraphEntity {tenant: $tenant, index_name: $name})
    RETURN e.name AS name, e.occurrences AS occurrences ORDER BY name
    """
    return await client.read(lambda transaction: rows(transaction, cypher, tenant=index.tenant, name=index.name))


async def test_a_write_that_is_cut_off_is_there_as_a_whole_or_not_at_all(client: Neo4j, index: IndexRef) -> None:
    graph = Neo4jGraph(client, hub_occurrences=HUB)
    chunks = [link_words(n) for n in range(30)]
    ids = [one.chunk_id for one in chunks]
    await graph.write(index, chunks[:10])
    before = await graph.links(index, ids, 1_000)
    whole = IndexRef(index.tenant, "whole")
    await graph.write(whole, chunks)
    after = await graph.links(whole, ids, 1_000)
    for seconds in (0.005, 0.01, 0.02, 0.04, 0.06, 0.1):
        task = asyncio.create_task(graph.write(index, chunks))
        await asyncio.wait([task], timeout=seconds / 2)
        task.cancel()
        await asyncio.wait([task])
        try:
            with deadline.scope(seconds):
                await graph.write(index, chunks)
        except DeadlineExceeded:
            pass
        assert await graph.links(index, ids, 1_000) in (before, after)
    await graph.write(index, chunks)
    assert await graph.links(index, ids, 1_000) == after
    assert await counts(client, index) == await counts(client, whole)


async def test_every_node_and_relationship_names_its_tenant(client: Neo4j, index: IndexRef) -> None:
    graph = Neo4jGraph(client)
    await graph.write(index, [link_words(n) for n in range(5)])
    cypher = """
    MATCH (n {tenant: $tenant})-[r]-(m)
    RETURN count(r) > 0 AS some, all(x IN collect(r.tenant) + collect(m.tenant) WHERE x = $tenant) AS own
    """
    found = await client.read(lambda transaction: rows(transaction, cypher, tenant=index.tenant))
    assert found == [{"some": True, "own": True}]
    bare = "MATCH (n) WHERE (n:GraphChunk OR n:GraphEntity OR n:GraphIndex) AND n.tenant IS NULL RETURN count(n) AS n"
    assert await client.read(lambda transaction: rows(transaction, bare)) == [{"n": 0}]
