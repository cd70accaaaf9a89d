"""What the record stores refuse, in the same words whichever store it is."""

from __future__ import annotations

from ragmesh_servicekit.errors import Aborted, AlreadyExists, NotFound, Reason


def collection_not_found(collection_id: str) -> NotFound:
    return NotFound(f"there is no collection `{collection_id}`", reason=Reason.COLLECTION_NOT_FOUND)


def index_not_found() -> NotFound:
    """Names nothing: an index's name is internal, and its collection's id may be another's by now."""
    return NotFound("the collection was deleted or replaced", reason=Reason.COLLECTION_NOT_FOUND)


def document_not_found(document_id: str) -> NotFound:
    return NotFound(f"there is no document `{document_id}`", reason=Reason.DOCUMENT_NOT_FOUND)


def key_not_found() -> NotFound:
    return NotFound("there is no such key", reason=Reason.KEY_NOT_FOUND)


def collection_exists(collection_id: str) -> AlreadyExists:
    return AlreadyExists(f"the collection `{collection_id}` exists already", reason=Reason.COLLECTION_EXISTS)


def key_exists() -> AlreadyExists:
    return AlreadyExists("a key with this id exists already", reason=Reason.STATE_CONFLICT)


def restore_overtaken() -> Aborted:
    return Aborted("another restore has begun meanwhile and taken this one away", reason=Reason.STATE_CONFLICT)
