"""The entity graph on SQLite."""

from __future__ import annotations

from ragmesh_backends.graphs.sqlite.graph import SqliteGraph
from ragmesh_backends.graphs.sqlite.schema import GRAPH_SCHEMA

__all__ = ["GRAPH_SCHEMA", "SqliteGraph"]
