"""The blob of a document as it was sent: a line of JSON, the manifest, then its bytes.

The manifest is what its job can be made from again when record and queue are lost. In one blob neither is ever there
without the other, and a document costs one file and one sync instead of two.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ragmesh_servicekit.errors import Internal


def packed(manifest: Mapping[str, Any], document: bytes) -> bytes:
    """The blob. JSON has no line feed outside strings, and inside them none that is not escaped."""
    return json.dumps(manifest).encode() + b"\n" + document


def unpacked(blob: bytes) -> bytes:
    """The document of a blob. Internal when it is none."""
    end = blob.find(b"\n")
    if end < 0:
        raise Internal("a stored original is damaged")
    return blob[end + 1 :]
