"""SQLite's errors as errors of the mesh. Nothing of the driver leaves the adapters."""

from __future__ import annotations

import sqlite3

from ragmesh_servicekit.errors import FailedPrecondition, Internal, MeshError, Unavailable

_TEMPORARY = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
    }
)
"""The disk or another process stands in the way; the statement itself is right."""


def primary_code(error: sqlite3.Error) -> int:
    """The primary result code (https://www.sqlite.org/rescode.html); 0 when Python itself raised the error."""
    code: int = getattr(error, "sqlite_errorcode", 0) or 0
    return code & 0xFF


def translate(error: sqlite3.Error, role: str) -> MeshError:
    """The error that a caller may see. role: the store's role, such as `records`."""
    code = primary_code(error)
    if code == sqlite3.SQLITE_FULL:
        return Unavailable.dependency(role, f"the disk of the {role} store is full")
    if code in _TEMPORARY:
        return Unavailable.dependency(role)
    if code == sqlite3.SQLITE_NOTADB:
        return FailedPrecondition(f"the file of the {role} store is not a database")
    if code == sqlite3.SQLITE_CORRUPT:
        return Internal(f"the {role} store is damaged; restore it from a backup")
    return Internal(f"the {role} store refused a statement")
