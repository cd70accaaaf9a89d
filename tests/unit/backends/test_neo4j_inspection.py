"""What is found of the record store on a Neo4j server, without changing it."""

from __future__ import annotations

import uuid

from ragmesh_backends.graphs.neo4j import NEO4J_GRAPH_SCHEMA
from ragmesh_backends.model.inspection import ComponentVersion
from ragmesh_backends.neo4j.client import Transaction, rows
from ragmesh_backends.neo4j.inspection import declared, inspected
from ragmesh_backends.neo4j.schema import Schema
from ragmesh_backends.records.inspection import inspect
from ragmesh_backends.records.neo4j.schema import NEO4J_RECORDS_SCHEMA
from ragmesh_backends.store_settings import RecordsSettings
from support import neo4j


def test_every_statement_of_a_schema_makes_what_is_looked_for() -> None:
    for schema in (NEO4J_RECORDS_SCHEMA, NEO4J_GRAPH_SCHEMA):
        assert len(declared(schema)) == sum(len(step) for step in schema.steps)
    assert "graph_chunk_tokens" in declared(NEO4J_GRAPH_SCHEMA)


@neo4j.needed
async def test_versions_and_missing_indexes_are_found() -> None:
    async with neo4j.opened(NEO4J_RECORDS_SCHEMA, NEO4J_GRAPH_SCHEMA) as client:
        gone = Schema("graph", (("CREATE INDEX nobody_made_it IF NOT EXISTS FOR (n:Nobody) ON (n.x)",),))
        found = await inspected(client, [NEO4J_RECORDS_SCHEMA, gone, Schema("unheard_of", ((),))])
    assert list(found.versions) == [ComponentVersion("records", 1, 1), ComponentVersion("graph", 1, 1)]
    assert found.missing == ["nobody_made_it"]


@neo4j.needed
async def test_chunks_are_counted_only_when_that_is_asked_and_in_time() -> None:
    tenant = f"inspected_{uuid.uuid4().hex[:8]}"

    async def collections(transaction: Transaction) -> None:
        await rows(
            transaction,
            "UNWIND ['empty', 'full'] AS name"
            " CREATE (:RecordCollection {tenant: $tenant, collection_id: name, index_name: name, live_key: name})",
            tenant=tenant,
        )
        await rows(
            transaction,
            "UNWIND [[1, 'ACTIVE'], [2, 'ACTIVE'], [4, 'DELETED']] AS row CREATE (:RecordVersion {tenant: $tenant,"
            " index_name: 'full', document_id: toString(row[0]), version: 1, state: row[1], chunk_count: row[0]})",
            tenant=tenant,
        )

    async with neo4j.opened(NEO4J_RECORDS_SCHEMA) as client:
        await client.write(collections)
        for seconds, chunks in ((0.0, [None, None]), (1e-9, [None, None]), (9.0, [0, 3])):
            found = await inspected(client, [NEO4J_RECORDS_SCHEMA], seconds)
            assert [index.chunks for index in found.collections if index.tenant == tenant] == chunks
    await neo4j.forget_tenants(tenant)


@neo4j.needed
async def test_the_settings_choose_the_server() -> None:
    neo4j.require()
    settings = RecordsSettings(url=neo4j.URI, user=neo4j.USER, password=neo4j.PASSWORD)
    found = await inspect(settings)
    assert found is not None
    assert found.missing == []
