"""The record store on SQLite: one class, three groups of tables."""

from __future__ import annotations

from ragmesh_backends.records.sqlite.collections import CollectionTable
from ragmesh_backends.records.sqlite.documents import DocumentTable
from ragmesh_backends.records.sqlite.schema import RECORDS_SCHEMA
from ragmesh_backends.records.sqlite.versions import VersionTable

__all__ = ["RECORDS_SCHEMA", "SqliteRecords"]


class SqliteRecords(CollectionTable, DocumentTable, VersionTable):
    """Collections, documents and versions of all tenants; written by the ingestor, read by everyone.

    Every method is one transaction and bears repetition. Errors besides those named: Unavailable and
    DeadlineExceeded of the database. The database must have been opened with RECORDS_SCHEMA.
    """
