"""Keys that every comparison of strings sorts as Python sorts the texts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ragmesh_backends.records.neo4j.ordering import ordered

# Surrogates are no text. Characters around the borders of the encodings, where the orders differ, are frequent.
CHARACTERS = st.one_of(
    st.sampled_from("\x00\x7f\x80\ud7fe\ud7ff\ue000\uffff\U00010000\U0010ffff"),
    st.characters(exclude_categories=["Cs"]),
)
TEXTS = st.text(CHARACTERS, max_size=6)


def utf16(text: str) -> bytes:
    return text.encode("utf-16-be")


@given(TEXTS, TEXTS)
def test_keys_sort_by_utf8_and_by_utf16_as_their_texts_by_code_points(one: str, other: str) -> None:
    first, second = ordered(one), ordered(other)
    assert (utf16(first) < utf16(second)) == (one < other)
    assert (first.encode() < second.encode()) == (one < other)
    assert (first == second) == (one == other)


def test_an_ordinary_id_is_its_own_key() -> None:
    for text in ("", "guide/intro.md", "Übersicht", "日本語.txt", "한국어"):
        assert ordered(text) == text
