"""The blob of an original: manifest and document in one."""

from __future__ import annotations

import json

import pytest

from ragmesh_ingestor.domain.originals import packed, unpacked
from ragmesh_servicekit.errors import Internal


@pytest.mark.parametrize("document", [b"", b"\n\nlines\r\n", b"\xef\xbb\xbf{}", b"\x00\xff"])
def test_the_document_comes_back_byte_for_byte_and_the_manifest_is_its_first_line(document: bytes) -> None:
    manifest = {"title": "a\nb\u2028c", "groups": ("x",)}
    blob = packed(manifest, document)
    assert unpacked(blob) == document
    assert json.loads(blob.split(b"\n", 1)[0]) == {"title": "a\nb\u2028c", "groups": ["x"]}


def test_a_blob_without_a_manifest_is_damaged() -> None:
    with pytest.raises(Internal):
        unpacked(b"{")
