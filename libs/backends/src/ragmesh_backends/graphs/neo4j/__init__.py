"""The entity graph on Neo4j."""

from __future__ import annotations

from ragmesh_backends.graphs.neo4j.graph import Neo4jGraph
from ragmesh_backends.graphs.neo4j.schema import NEO4J_GRAPH_SCHEMA

__all__ = ["NEO4J_GRAPH_SCHEMA", "Neo4jGraph"]
