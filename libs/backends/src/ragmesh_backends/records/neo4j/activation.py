"""The flip: one version becomes the one that is searched, the version before it is retired."""

from __future__ import annotations

from ragmesh_backends.model.document import (
    Activation,
    ActivationOutcome,
    DocumentState,
    DocumentVersion,
    ReadyVersion,
    VersionState,
)
from ragmesh_backends.records.neo4j.ledger import Ledger

_SHOWN = ("title", "media_type", "size_bytes", "content_sha256", "metadata")


def activate(ledger: Ledger, item: ReadyVersion) -> Activation:
    """Compare and set: only a pending version that is newer than the active one is activated. The ledger holds its
    document."""
    versions = ledger.versions(item.document_id)
    version, document = versions.get(item.version), ledger.document(item.document_id)
    if version is not None and version["state"] == VersionState.ACTIVE:
        return Activation(item.document_id, item.version, ActivationOutcome.UNCHANGED)
    active: int = 0 if document is None else document["active_version"]
    if version is None or document is None or version["state"] != VersionState.PENDING or item.version < active:
        _supersede(ledger, item)
        return Activation(item.document_id, item.version, ActivationOutcome.SUPERSEDED)
    for number, older in versions.items():
        # Older versions that failed were kept for another try; nobody will try them now.
        if number < item.version and older["state"] in {VersionState.ACTIVE, VersionState.FAILED}:
            ledger.change(older, VersionState.RETIRED, hidden=True)
    written = {"title": item.title, "parsed_key": item.parsed_key, "chunk_count": len(item.chunks)}
    ledger.change(version, VersionState.ACTIVE, hidden=False, writing=False, **written)
    document.update(
        {key: version[key] for key in _SHOWN},
        state=str(DocumentState.READY),
        active_version=item.version,
        chunk_count=len(item.chunks),
        updated_us=ledger.now,
    )
    if document["latest_version"] == item.version:
        document["failure"] = ""
    ledger.add_chunks(item.document_id, item.version, item.title, item.chunks)
    retired = DocumentVersion(item.document_id, active) if active else None
    return Activation(item.document_id, item.version, ActivationOutcome.ACTIVATED, retired)


def _supersede(ledger: Ledger, item: ReadyVersion) -> None:
    """Hide the version and leave it to the sweeper: its worker has just written rows. A version that was forgotten
    meanwhile is written down again for the same reason."""
    version = ledger.versions(item.document_id).get(item.version)
    if version is None:
        version = ledger.add_version(item.document_id, item.version, {})
    ledger.change(version, VersionState.RETIRED, hidden=True, writing=False, parsed_key=item.parsed_key)
