"""The blob of an original: manifest and document in one."""

from __future__ import annotations

import json

import pytest

from ragmesh_ingestor.domain.originals import packed, unpacked
from ragmesh_servicekit.errors import FailedPrecondition, Internal


@pytest.mark.parametrize("document", [b"", b"\n\nlines\r\n", b"\xef\xbb\xbf{}", b"\x00\xff"])
def test_the_document_comes_back_byte_for_byte_and_the_manifest_is_its_first_line(document: bytes) -> None:
    manifest = {"title": "a\nb\u2028c", "groups": ("x",)}
    blob = packed(manifest, document)
    assert unpacked(blob) == document
    line = json.loads(blob.split(b"\n", 1)[0])
    assert line == {"manifest_version": 1, "title": "a\nb\u2028c", "groups": ["x"]}


@pytest.mark.parametrize("blob", [b"{", b"{\ntext", b"[1]\ntext", b'{"manifest_version": "x"}\ntext', b"\xff\ntext"])
def test_a_blob_without_a_manifest_is_damaged(blob: bytes) -> None:
    with pytest.raises(Internal):
        unpacked(blob)


def test_a_blob_of_before_manifests_had_versions_is_read() -> None:
    assert unpacked(b'{"title": "a"}\ntext') == b"text"


def test_a_manifest_of_a_newer_version_is_refused() -> None:
    with pytest.raises(FailedPrecondition, match="manifest version 2, written by a newer ragmesh"):
        unpacked(b'{"manifest_version": 2}\ntext')
