"""Chunks to Milvus' columns."""

from __future__ import annotations

import numpy as np
import pytest

from ragmesh_backends.vectors.rows import SLICE_BYTES, SLICE_ROWS, passage, slices, upsert
from support.chunks import row, unit


@pytest.mark.parametrize(
    ("title", "headings", "text", "before"),
    [
        ("", (), "t", ""),
        ("T", (), "t x", "T\n"),
        ("T", ("T", "H"), "x", "T\nH\n"),
        ("T", ("t ", "H", "h"), "x", "T\nH\n"),
        ("T", ("H",), "## H\nx", "T\n"),
        ("T", (), "T\nx", ""),
    ],
)
def test_title_and_headings_are_analysed_once(title: str, headings: tuple[str, ...], text: str, before: str) -> None:
    analysed, offset = passage(row(text=text, title=title, heading_path=headings).chunk)
    assert analysed[:offset] == before
    assert analysed[offset:] == text


def test_slices_are_bounded_by_rows_and_bytes_and_hold_each_chunk_once() -> None:
    assert [len(part) for part in slices([row(ordinal=i) for i in range(SLICE_ROWS + 1)])] == [SLICE_ROWS, 1]
    heavy = [row(text="x" * (SLICE_BYTES // 6), ordinal=i) for i in range(4)]
    assert [len(part) for part in slices(heavy)] == [1, 1, 1, 1]
    [last] = next(slices([row(text="old"), row(text="new")]))
    assert last.chunk.text == "new"
    assert list(slices([])) == []


def test_vectors_keep_every_bit() -> None:
    rows = [row(ordinal=i, vector=unit(1, i, -3)) for i in range(40)]
    fields = {field.field_name: field for field in upsert("name", rows).fields_data}
    sent = np.array(fields["vector"].vectors.float_vector.data, dtype=np.float32).reshape(40, -1)
    np.testing.assert_array_equal(sent, np.stack([r.vector for r in rows]))
