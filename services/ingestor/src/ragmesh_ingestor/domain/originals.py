"""The blob of a document as it was sent: a line of JSON, the manifest, then its bytes.

The manifest is what its job can be made from again when record and queue are lost. In one blob neither is ever there
without the other, and a document costs one file and one sync instead of two.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ragmesh_servicekit.errors import FailedPrecondition, Internal

MANIFEST_VERSION = 1
"""Of the manifest's fields, in each manifest; one that names none was written before there were versions, and is 1."""


def packed(manifest: Mapping[str, Any], document: bytes) -> bytes:
    """The blob. JSON has no line feed outside strings, and inside them none that is not escaped."""
    return json.dumps({"manifest_version": MANIFEST_VERSION, **manifest}).encode() + b"\n" + document


def unpacked(blob: bytes) -> bytes:
    """The document of a blob. Internal when it is none, FailedPrecondition when a newer program wrote it."""
    end = blob.find(b"\n")
    version = _version(blob[:end]) if end >= 0 else None
    if version is None:
        raise Internal("a stored original is damaged")
    if version > MANIFEST_VERSION:
        raise FailedPrecondition(
            f"a stored original has manifest version {version}, written by a newer ragmesh; this one knows version "
            f"{MANIFEST_VERSION}: run the newer program or restore a backup"
        )
    return blob[end + 1 :]


def _version(line: bytes) -> int | None:
    """The version of a manifest; None when the line is none."""
    try:
        version = json.loads(line).get("manifest_version", 1)
    except (ValueError, AttributeError):
        return None
    return version if type(version) is int else None
