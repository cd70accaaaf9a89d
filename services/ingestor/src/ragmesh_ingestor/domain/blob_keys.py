"""Where the blobs of a job are. Index names are unique over all tenants and safe in a path, job ids are hexadecimal."""

from __future__ import annotations

from ragmesh_backends.model.collection import IndexRef

_ORIGINAL = ".original"


def original_key(index: IndexRef, job_id: str) -> str:
    """The document as it was sent, behind its manifest (`originals`)."""
    return f"{index.name}/{job_id}{_ORIGINAL}"


def parsed_key(blob_key: str) -> str:
    """The parsed text, where it is not the original itself."""
    return f"{blob_key.removesuffix(_ORIGINAL)}.parsed"


def is_original(blob_key: str) -> bool:
    return blob_key.endswith(_ORIGINAL)


def index_prefix(index: IndexRef) -> str:
    """Everything of one index."""
    return index.name
