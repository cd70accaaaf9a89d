"""The constraints and indexes of the graph.

(:GraphIndex {tenant, index_name, writes})      the lock that writers of one index take
(:GraphChunk {tenant, index_name, chunk_id, document_id, version, ordinal, about, tokens, scope})
(:GraphEntity {tenant, index_name, name, head, occurrences})
(chunk)-[:ABOUT {tenant, ordinal}]->(entity)    what a link's target is about
(chunk)-[:MENTIONS {tenant}]->(entity)          what a link's source mentions

Degrees are not kept: Neo4j counts the relationships of a node. graph_chunk_tokens finds the chunks in which a new name
occurs. Its `whitespace` analyzer keeps every token whole (up to 255 characters; what it finds is checked word by
word), and `scope`, which stands for one tenant's index, is one of its terms: the postings of all indexes lie together.
"""

from __future__ import annotations

from ragmesh_backends.neo4j.schema import Schema

NEO4J_GRAPH_SCHEMA = Schema(
    "graph",
    (
        (
            """
            CREATE CONSTRAINT graph_index_key IF NOT EXISTS
            FOR (i:GraphIndex) REQUIRE (i.tenant, i.index_name) IS UNIQUE
            """,
            """
            CREATE CONSTRAINT graph_chunk_key IF NOT EXISTS
            FOR (c:GraphChunk) REQUIRE (c.tenant, c.index_name, c.chunk_id) IS UNIQUE
            """,
            """
            CREATE CONSTRAINT graph_entity_key IF NOT EXISTS
            FOR (e:GraphEntity) REQUIRE (e.tenant, e.index_name, e.name) IS UNIQUE
            """,
            """
            CREATE INDEX graph_chunk_version IF NOT EXISTS
            FOR (c:GraphChunk) ON (c.tenant, c.index_name, c.document_id, c.version)
            """,
            """
            CREATE INDEX graph_entity_head IF NOT EXISTS
            FOR (e:GraphEntity) ON (e.tenant, e.index_name, e.head)
            """,
            """
            CREATE FULLTEXT INDEX graph_chunk_tokens IF NOT EXISTS
            FOR (c:GraphChunk) ON EACH [c.scope, c.tokens]
            OPTIONS {indexConfig: {
                `fulltext.analyzer`: 'whitespace', `fulltext.eventually_consistent`: false
            }}
            """,
        ),
    ),
)
"""The entity graph: chunks are about entities and mention others."""
