"""The record store on Neo4j 5.26: one class, three groups of methods; and the gateway's keys."""

from __future__ import annotations

from ragmesh_backends.records.neo4j.collections import CollectionNodes
from ragmesh_backends.records.neo4j.documents import DocumentNodes
from ragmesh_backends.records.neo4j.keys import Neo4jKeys
from ragmesh_backends.records.neo4j.versions import VersionNodes

__all__ = ["Neo4jKeys", "Neo4jRecords"]


class Neo4jRecords(CollectionNodes, DocumentNodes, VersionNodes):
    """Collections, documents and versions of all tenants; written by any number of ingestors, read by everyone.

    Methods and meaning as of SqliteRecords; every method is one transaction, except where it says so, and bears
    repetition: it is not known whether a commit whose reply was lost took place. Errors besides those named:
    Unavailable and DeadlineExceeded of the database. A read sees committed data only, but no snapshot: one that runs
    while a flip is being committed may see a part of it, and readers learn of the flip from the visibility set after.
    """
