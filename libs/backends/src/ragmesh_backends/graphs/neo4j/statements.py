"""The Cypher of the graph. Each statement names the tenant and the index; rows come as lists of maps.

An UNWIND of rows is bounded by BATCH: the server holds the parameters and the plan's state of one statement at a time.
"""

from __future__ import annotations

BATCH = 1_000

# SET takes the node's lock until the transaction ends; statements after it read what the writer before committed.
LOCK = """
MERGE (i:GraphIndex {tenant: $tenant, index_name: $index_name})
SET i.writes = coalesce(i.writes, 0) + 1
"""

# -- what is there ---------------------------------------------------------------------------------

CHUNKS = """
UNWIND $rows AS row
MATCH (c:GraphChunk {tenant: $tenant, index_name: $index_name, chunk_id: row})
RETURN c.chunk_id AS chunk_id, c.document_id AS document_id, c.version AS version, c.ordinal AS ordinal,
       c.about AS about, c.tokens AS tokens
"""
CHUNKS_OF_VERSIONS = """
UNWIND $versions AS wanted
MATCH (c:GraphChunk {tenant: $tenant, index_name: $index_name, document_id: wanted[0], version: wanted[1]})
WITH c LIMIT $limit
RETURN c.chunk_id AS chunk_id, c.about AS about, c.tokens AS tokens
"""
MENTIONS = """
UNWIND $rows AS row
MATCH (:GraphChunk {tenant: $tenant, index_name: $index_name, chunk_id: row})-[:MENTIONS]->(e:GraphEntity)
RETURN row AS chunk_id, collect(e.name) AS names
"""
ENTITIES = """
UNWIND $rows AS row
MATCH (e:GraphEntity {tenant: $tenant, index_name: $index_name, head: row})
USING INDEX e:GraphEntity(tenant, index_name, head)
RETURN e.name AS name, e.occurrences AS occurrences
"""
UNUSED = """
UNWIND $rows AS row
MATCH (e:GraphEntity {tenant: $tenant, index_name: $index_name, name: row})
WHERE NOT EXISTS { MATCH (c:GraphChunk)-[:ABOUT]->(e) WHERE NOT c.chunk_id IN $others_than }
RETURN e.name AS name
"""
# The index finds a few too many where a token is longer than the analyzer's 255 characters.
HOLDERS = """
UNWIND $rows AS row
CALL (row) {
    CALL db.index.fulltext.queryNodes('graph_chunk_tokens', row.query) YIELD node AS c
    WHERE c.tenant = $tenant AND c.index_name = $index_name AND NOT c.chunk_id IN $others_than
      AND ' ' + c.tokens + ' ' CONTAINS ' ' + row.name + ' '
    RETURN collect(c.chunk_id) AS found
}
RETURN row.name AS name, size(found) AS count, CASE WHEN size(found) <= $limit THEN found ELSE [] END AS found
"""

# -- changes ---------------------------------------------------------------------------------------

DELETE_CHUNKS = """
UNWIND $rows AS row
MATCH (c:GraphChunk {tenant: $tenant, index_name: $index_name, chunk_id: row})
DETACH DELETE c
"""
DELETE_ENTITIES = """
UNWIND $rows AS row
MATCH (e:GraphEntity {tenant: $tenant, index_name: $index_name, name: row})
DETACH DELETE e
"""
SAVE_ENTITIES = """
UNWIND $rows AS row
MERGE (e:GraphEntity {tenant: $tenant, index_name: $index_name, name: row.name})
SET e.head = row.head, e.occurrences = row.occurrences
"""
SAVE_CHUNKS = """
UNWIND $rows AS row
MERGE (c:GraphChunk {tenant: $tenant, index_name: $index_name, chunk_id: row.chunk_id})
SET c += row
"""
SAVE_ABOUT = """
UNWIND $rows AS row
MATCH (c:GraphChunk {tenant: $tenant, index_name: $index_name, chunk_id: row.chunk_id})
MATCH (e:GraphEntity {tenant: $tenant, index_name: $index_name, name: row.name})
CREATE (c)-[:ABOUT {tenant: $tenant, ordinal: row.ordinal}]->(e)
"""
ADD_MENTIONS = """
UNWIND $rows AS row
MATCH (c:GraphChunk {tenant: $tenant, index_name: $index_name, chunk_id: row.chunk_id})
MATCH (e:GraphEntity {tenant: $tenant, index_name: $index_name, name: row.name})
CREATE (c)-[:MENTIONS {tenant: $tenant}]->(e)
"""
REMOVE_MENTIONS = """
UNWIND $rows AS row
MATCH (c:GraphChunk {tenant: $tenant, index_name: $index_name, chunk_id: row.chunk_id})
MATCH (c)-[m:MENTIONS]->(:GraphEntity {tenant: $tenant, index_name: $index_name, name: row.name})
DELETE m
"""

# A dropped index goes as it is, without matching anything again.
DROP_CHUNKS = """
MATCH (n:GraphChunk {tenant: $tenant, index_name: $index_name})
WITH n LIMIT $limit
DETACH DELETE n
RETURN count(*) AS deleted
"""
DROP_ENTITIES = """
MATCH (n:GraphEntity {tenant: $tenant, index_name: $index_name})
WITH n LIMIT $limit
DETACH DELETE n
RETURN count(*) AS deleted
"""
DROP_INDEX = "MATCH (i:GraphIndex {tenant: $tenant, index_name: $index_name}) DELETE i"

# -- questions -------------------------------------------------------------------------------------

_TARGETS = """
COLLECT {
    MATCH (t:GraphChunk)-[a:ABOUT]->(e)
    WITH t, a ORDER BY a.ordinal, t.chunk_id LIMIT $targets
    RETURN [t.chunk_id, t.document_id, t.version]
}
"""
LINKS = f"""
UNWIND $chunk_ids AS chunk_id
MATCH (c:GraphChunk {{tenant: $tenant, index_name: $index_name, chunk_id: chunk_id}})-[:MENTIONS]->(e:GraphEntity)
RETURN chunk_id, e.name AS name, COUNT {{ (:GraphChunk)-[:MENTIONS]->(e) }} AS in_degree, {_TARGETS} AS targets
"""
ABOUT = f"""
UNWIND $names AS name
MATCH (e:GraphEntity {{tenant: $tenant, index_name: $index_name, name: name}})
RETURN name, COUNT {{ (:GraphChunk)-[:MENTIONS]->(e) }} AS in_degree, {_TARGETS} AS targets
"""
