"""The constraints and indexes of the record store and of the keys.

A uniqueness constraint is an index as well, and serves only where every one of its properties is asked for. Nodes
without one of the properties are not in it: a collection that was deleted has no live_key, so its id is free again.
Hidden versions bear a label of their own, so that the few are found without looking at the many.
"""

from __future__ import annotations

from ragmesh_backends.neo4j.schema import Schema

RECORDS_NODES = Schema(
    "records",
    (
        (
            "CREATE CONSTRAINT collection_index IF NOT EXISTS"
            " FOR (c:Collection) REQUIRE (c.tenant, c.index_name) IS UNIQUE",
            "CREATE CONSTRAINT collection_live IF NOT EXISTS"
            " FOR (c:Collection) REQUIRE (c.tenant, c.live_key) IS UNIQUE",
            "CREATE INDEX collection_names IF NOT EXISTS FOR (c:Collection) ON (c.index_name)",
            "CREATE INDEX collection_dropped IF NOT EXISTS FOR (c:Collection) ON (c.deleted_us)",
            "CREATE CONSTRAINT document_key IF NOT EXISTS"
            " FOR (d:Document) REQUIRE (d.tenant, d.index_name, d.document_key) IS UNIQUE",
            "CREATE CONSTRAINT version_key IF NOT EXISTS"
            " FOR (v:Version) REQUIRE (v.tenant, v.index_name, v.document_id, v.version) IS UNIQUE",
            "CREATE INDEX version_hidden IF NOT EXISTS FOR (v:HiddenVersion) ON (v.tenant, v.index_name)",
            "CREATE INDEX version_changed IF NOT EXISTS FOR (v:HiddenVersion) ON (v.state, v.changed_us)",
            "CREATE CONSTRAINT passage_key IF NOT EXISTS FOR (p:Passage)"
            " REQUIRE (p.tenant, p.index_name, p.document_id, p.version, p.ordinal) IS UNIQUE",
        ),
    ),
)
KEYS_NODES = Schema(
    "keys",
    (
        (
            "CREATE CONSTRAINT api_key_id IF NOT EXISTS FOR (k:ApiKey) REQUIRE (k.key_id) IS UNIQUE",
            "CREATE INDEX api_key_of_tenant IF NOT EXISTS FOR (k:ApiKey) ON (k.tenant, k.position)",
        ),
    ),
)
