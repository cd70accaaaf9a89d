"""Filters as text, and the keys that stand in for ids."""

from __future__ import annotations

import re

import pytest

from ragmesh_backends.model.document import DocumentVersion
from ragmesh_backends.model.search import SearchFilter
from ragmesh_backends.vectors.expressions import AllOf, OneOf, SharesOne, literal
from ragmesh_backends.vectors.keys import access_keys, is_chunk_id, key, seen_by, version_key


def test_quotes_and_backslashes_are_escaped() -> None:
    assert literal('a"b\\') == '"a\\"b\\\\"'
    assert literal(7) == "7"


@pytest.mark.parametrize("text", ["\n", "a\tb", "\x00", "\x7f"])
def test_control_characters_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="control character"):
        literal(text)


def test_a_tree_is_rendered_with_blanks_around_operators() -> None:
    tree = AllOf([OneOf("a", ["x", "y"]), SharesOne("b", ["z"]), OneOf("n", [])])
    assert str(tree) == '(a in ["x", "y"]) and (array_contains_any(b, ["z"])) and (n in [])'


def test_keys_are_harmless_and_distinct() -> None:
    texts = ["", "a", "a ", "A", "a\n", "a' or 1", "\ud800", "everyone", key("a")]
    keys = {key(text) for text in texts}
    assert len(keys) == len(texts)
    assert all(re.fullmatch("[0-9a-f]{32}", k) for k in keys)


def test_a_version_key_tells_versions_apart() -> None:
    assert version_key(DocumentVersion("a", 1)) != version_key(DocumentVersion("a", 11))
    assert version_key(DocumentVersion("a", 1)).startswith(key("a"))


def test_a_group_named_everyone_is_not_everyone() -> None:
    assert access_keys(["everyone"]) == [key("everyone")]
    assert access_keys([]) == ["everyone"]


def test_nobody_sees_more_than_what_is_open_and_his_groups() -> None:
    assert str(seen_by(SearchFilter())) == 'array_contains_any(access, ["everyone"])'
    both = str(seen_by(SearchFilter(groups=("hr",), document_ids=("d",))))
    assert both == f'(array_contains_any(access, ["everyone", "{key("hr")}"])) and (document_key in ["{key("d")}"])'


@pytest.mark.parametrize(
    ("text", "fits"),
    [("0a-_.:Z", True), ("", False), ("a'b", False), ("a\n", False), ("ä", False), ("x" * 129, False)],
)
def test_a_chunk_id_is_made_of_harmless_characters(text: str, fits: bool) -> None:
    assert is_chunk_id(text) is fits
