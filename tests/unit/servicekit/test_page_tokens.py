"""Page tokens are good for the request that they were issued for, and for nothing else."""

from __future__ import annotations

import base64

import pytest

from ragmesh_servicekit.errors import InvalidArgument
from ragmesh_servicekit.paging import PageTokens

PAGES = PageTokens(b"secret")


@pytest.mark.parametrize("cursor", ["", "doc-1", "Ωmega/ü", "x" * 500])
def test_a_cursor_comes_back(cursor: str) -> None:
    token = PAGES.issue(cursor, "acme", "ListDocuments", "docs")
    assert PAGES.read(token, "acme", "ListDocuments", "docs") == cursor
    assert PageTokens(b"secret").read(token, "acme", "ListDocuments", "docs") == cursor  # after a restart


def test_no_token_is_the_first_page() -> None:
    assert PAGES.read("", "acme", "ListDocuments", "docs") == ""


@pytest.mark.parametrize(
    "request_of",
    [
        ("other", "ListDocuments", "docs"),
        ("acme", "ListJobs", "docs"),
        ("acme", "ListDocuments", "wiki"),
        ("acme", "ListDocuments"),
        ("acme", "ListDocumentsdocs", ""),
    ],
)
def test_a_token_is_refused_elsewhere(request_of: tuple[str, ...]) -> None:
    token = PAGES.issue("doc-1", "acme", "ListDocuments", "docs")
    with pytest.raises(InvalidArgument, match="page_token: is not a token of this request"):
        PAGES.read(token, *request_of)


@pytest.mark.parametrize("token", ["x", "ü", "====", "AAAA", base64.urlsafe_b64encode(bytes(16) + b"\xff").decode()])
def test_what_is_not_a_token_is_refused(token: str) -> None:
    with pytest.raises(InvalidArgument, match="page_token"):
        PAGES.read(token, "acme", "ListDocuments")


def test_another_secret_does_not_read_it() -> None:
    with pytest.raises(InvalidArgument):
        PageTokens(b"other").read(PAGES.issue("c", "acme"), "acme")
