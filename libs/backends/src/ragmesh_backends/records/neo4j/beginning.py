"""Version numbers: given out once, and again to the job that has one."""

from __future__ import annotations

from ragmesh_backends.model.document import DocumentState, DocumentVersion, NewVersion, VersionState
from ragmesh_backends.records.neo4j.ledger import Ledger
from ragmesh_backends.records.neo4j.nodes import DELETED, Properties, shown
from ragmesh_backends.records.neo4j.ordering import ordered


def begin(ledger: Ledger, item: NewVersion) -> DocumentVersion:
    """The number of this item's version; the ledger holds its document."""
    for version in ledger.versions(item.document_id).values():
        if version["job_id"] == item.job_id:
            if version["state"] == VersionState.FAILED:
                _reopen(ledger, version)
            return DocumentVersion(item.document_id, version["version"])
    document = ledger.documents.get(item.document_id)
    if document is None:
        document = ledger.documents[item.document_id] = {
            "document_key": ordered(item.document_id),
            "document_id": item.document_id,
            "state": DELETED,
            "active_version": 0,
            "latest_version": 0,
            "chunk_count": 0,
        }
    document["latest_version"] += 1
    if document["state"] != DocumentState.READY:
        if document["state"] == DELETED:
            document["created_us"] = ledger.now
        document.update(shown(item), state=str(DocumentState.PENDING), failure="", updated_us=ledger.now)
    version = ledger.add_version(
        item.document_id,
        document["latest_version"],
        {
            **shown(item),
            "blob_key": item.blob_key,
            "job_id": item.job_id,
            "batch_id": item.batch_id,
            "principal": item.principal,
            "access_groups": list(item.groups),
        },
    )
    ledger.change(version, VersionState.PENDING, hidden=True, writing=True)
    return DocumentVersion(item.document_id, document["latest_version"])


def _reopen(ledger: Ledger, version: Properties) -> None:
    """A failed version whose job is tried again is pending once more."""
    ledger.change(version, VersionState.PENDING, hidden=True, writing=True, failure="")
    document = ledger.documents[version["document_id"]]
    if document["state"] == DocumentState.FAILED:
        document.update(state=str(DocumentState.PENDING), failure="", updated_us=ledger.now)
