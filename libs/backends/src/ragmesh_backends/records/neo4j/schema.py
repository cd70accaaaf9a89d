"""The constraints and indexes of the record store and of the keys.

A uniqueness constraint is an index as well, and serves only where every one of its properties is asked for. Nodes
without one of the properties are not in it: a collection that was deleted has no live_key, so its id is free again.
Hidden versions bear a label of their own, so that the few are found without looking at the many.
"""

from __future__ import annotations

from ragmesh_backends.neo4j.schema import Schema

NEO4J_RECORDS_SCHEMA = Schema(
    "records",
    (
        (
            "CREATE CONSTRAINT record_collection_index IF NOT EXISTS"
            " FOR (c:RecordCollection) REQUIRE (c.tenant, c.index_name) IS UNIQUE",
            "CREATE CONSTRAINT record_collection_live IF NOT EXISTS"
            " FOR (c:RecordCollection) REQUIRE (c.tenant, c.live_key) IS UNIQUE",
            "CREATE INDEX record_collection_names IF NOT EXISTS FOR (c:RecordCollection) ON (c.index_name)",
            "CREATE INDEX record_collection_dropped IF NOT EXISTS FOR (c:RecordCollection) ON (c.deleted_us)",
            "CREATE CONSTRAINT record_document_key IF NOT EXISTS"
            " FOR (d:RecordDocument) REQUIRE (d.tenant, d.index_name, d.document_key) IS UNIQUE",
            "CREATE CONSTRAINT record_version_key IF NOT EXISTS"
            " FOR (v:RecordVersion) REQUIRE (v.tenant, v.index_name, v.document_id, v.version) IS UNIQUE",
            "CREATE INDEX record_version_hidden IF NOT EXISTS FOR (v:RecordHidden) ON (v.tenant, v.index_name)",
            "CREATE INDEX record_version_changed IF NOT EXISTS FOR (v:RecordHidden) ON (v.state, v.changed_us)",
            "CREATE CONSTRAINT record_passage_key IF NOT EXISTS FOR (p:RecordPassage)"
            " REQUIRE (p.tenant, p.index_name, p.document_id, p.version, p.ordinal) IS UNIQUE",
        ),
    ),
)
NEO4J_KEYS_SCHEMA = Schema(
    "keys",
    (
        (
            "CREATE CONSTRAINT gateway_key_id IF NOT EXISTS FOR (k:GatewayKey) REQUIRE (k.key_id) IS UNIQUE",
            "CREATE INDEX gateway_key_of_tenant IF NOT EXISTS FOR (k:GatewayKey) ON (k.tenant, k.position)",
        ),
    ),
)
