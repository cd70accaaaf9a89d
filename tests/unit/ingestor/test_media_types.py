"""A document is what its declaration, its name and its bytes agree on, or it is refused with a sentence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragmesh_backends.model.document import MediaType
from ragmesh_ingestor.domain.media import MAX_CONTENT_BYTES, check_size, decode, resolve_type
from ragmesh_servicekit.errors import InvalidArgument, Reason


@pytest.mark.parametrize(
    ("declared", "name", "expected"),
    [
        ("", "", MediaType.TEXT),
        ("", "a.md", MediaType.MARKDOWN),
        ("application/octet-stream", "dir/a.HTML", MediaType.HTML),
        ("text/markdown; charset=UTF-8", "a.md", MediaType.MARKDOWN),
        ("text/plain", "a.md", MediaType.MARKDOWN),
        ("text/x-markdown", "", MediaType.MARKDOWN),
        ("text/plain", "notes v1.2", MediaType.TEXT),
        ("TEXT/HTML", "page", MediaType.HTML),
    ],
)
def test_declaration_and_name_agree_on_a_type(declared: str, name: str, expected: MediaType) -> None:
    assert resolve_type(declared, name) is expected


@pytest.mark.parametrize(
    ("declared", "name", "named"),
    [
        ("text/html", "a.txt", ".txt"),
        ("text/plain", "a.html", ".html"),
        ("text/plain", "a.pdf", ".pdf"),
        ("application/pdf", "", "application/pdf"),
    ],
)
def test_a_contradiction_names_what_contradicts(declared: str, name: str, named: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        resolve_type(declared, name)
    assert refused.value.reason is Reason.CONTENT_TYPE_MISMATCH
    assert named in refused.value.message


def test_another_charset_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="utf-16"):
        resolve_type("text/plain; charset=utf-16", "")


@pytest.mark.parametrize(
    ("data", "kind", "named"),
    [
        (b"%PDF-1.7 rest", MediaType.TEXT, "PDF"),
        (b"PK\x03\x04rest", MediaType.MARKDOWN, "ZIP"),
        (b"\x89PNG\r\n\x1a\nrest", MediaType.HTML, "PNG"),
        (b"plain\x00text", MediaType.TEXT, "byte 5 is NUL"),
        (b"no markup at all, 1 < 2", MediaType.HTML, "no HTML element"),
        (b'<?xml version="1.0"?><rss><title>x</title></rss>', MediaType.HTML, "XML with the root rss"),
        (b"<!DOCTYPE html><p>x", MediaType.TEXT, "HTML page"),
        (b"  <html><p>x", MediaType.MARKDOWN, "HTML page"),
    ],
)
def test_content_that_is_not_what_it_says_is_named(data: bytes, kind: MediaType, named: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        decode(data, kind)
    assert refused.value.reason is Reason.CONTENT_TYPE_MISMATCH
    assert named in refused.value.message


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"abc\xff", "offset 3"),
        (b"\xef\xbb\xbfabc\xc3(", "offset 6"),
        (b"\xff\xfea\x00", "UTF-16"),
        (b"", "no text"),
        (b" \n\t \r\n", "no text"),
        (b"\xef\xbb\xbf", "no text"),
        (b"\xed\xa0\x80", "offset 0"),
    ],
)
def test_text_that_cannot_be_read_says_where(data: bytes, named: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        decode(data, MediaType.TEXT)
    assert refused.value.reason is Reason.CONTENT_INVALID
    assert named in refused.value.message


def test_ten_megabytes_pass_and_one_byte_more_does_not() -> None:
    assert len(decode(b"a" * MAX_CONTENT_BYTES, MediaType.TEXT)) == MAX_CONTENT_BYTES
    with pytest.raises(InvalidArgument, match="10,485,760") as refused:
        check_size(MAX_CONTENT_BYTES + 1)
    assert refused.value.reason is Reason.CONTENT_TOO_LARGE


def test_a_byte_order_mark_is_not_part_of_the_text() -> None:
    assert decode(b"\xef\xbb\xbfhello", MediaType.TEXT) == "hello"


@given(st.binary(max_size=200), st.sampled_from(list(MediaType)))
def test_any_bytes_are_text_or_refused(data: bytes, kind: MediaType) -> None:
    try:
        text = decode(data, kind)
    except InvalidArgument:
        return
    assert text.strip()
    assert "\x00" not in text
