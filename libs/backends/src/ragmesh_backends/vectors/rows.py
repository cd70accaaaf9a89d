"""Chunks to and from Milvus' columns."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ragmesh_backends.model.document import Chunk, ChunkRow, DocumentVersion, ScoredChunk
from ragmesh_backends.vectors.contract import milvus_pb2, schema_pb2
from ragmesh_backends.vectors.keys import access_keys, is_chunk_id, key, version_key
from ragmesh_backends.vectors.schema import DENSE, MAX_ACCESS, MAX_VARCHAR_BYTES
from ragmesh_servicekit.errors import InvalidArgument

SLICE_ROWS = 500
SLICE_BYTES = 4 * 1024 * 1024
"""Of one insert message, about: a server refuses 64 MB, and milvus-lite's reader stops the world while it parses."""

_NO_PAGE = -1


def passage(chunk: Chunk) -> tuple[str, int]:
    """What is analysed for BM25, and where in it the chunk's own text begins (code points): title and headings, each
    once and not if the text itself begins with it, then the text. A NUL becomes a blank: milvus-lite's analyzer would
    read no further."""
    first_line = chunk.text.split("\n", 1)[0].lstrip("# ").strip().casefold()
    seen = {"", first_line}
    lines: list[str] = []
    for name in (chunk.title, *chunk.heading_path):
        if (folded := name.strip().casefold()) not in seen:
            seen.add(folded)
            lines.append(name + "\n")
    before = "".join(lines)
    return (before + chunk.text).replace("\x00", " "), len(before)


def slices(rows: Sequence[ChunkRow]) -> Iterator[list[ChunkRow]]:
    """The rows in messages of bounded size, the last of a repeated chunk_id only."""
    batch: list[ChunkRow] = []
    size = 0
    for row in {row.chunk.chunk_id: row for row in rows}.values():
        # UTF-8 takes 1 to 4 bytes a code point; 3 is right for the scripts in which texts are long.
        row_size = len(row.chunk.text) * 3 + row.vector.nbytes + 512
        if batch and (len(batch) == SLICE_ROWS or size + row_size > SLICE_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(row)
        size += row_size
    if batch:
        yield batch


def upsert(name: str, rows: Sequence[ChunkRow], *, keyed: bool = False) -> milvus_pb2.UpsertRequest:
    """One message that writes these rows. keyed: their access lists are as the store keeps them already. Raises
    InvalidArgument for what the store cannot hold."""
    chunks = [row.chunk for row in rows]
    passages = [passage(chunk) for chunk in chunks]
    strings: dict[str, list[str]] = {
        "chunk_id": [chunk.chunk_id for chunk in chunks],
        "document_id": [chunk.document_id for chunk in chunks],
        "title": [chunk.title for chunk in chunks],
        "heading_path": [json.dumps(chunk.heading_path, ensure_ascii=False) for chunk in chunks],
        "passage": [text for text, _ in passages],
    }
    _check(rows, strings)
    strings["document_key"] = [key(chunk.document_id) for chunk in chunks]
    strings["version_key"] = [version_key(DocumentVersion(chunk.document_id, chunk.version)) for chunk in chunks]
    numbers: dict[str, list[int]] = {
        "version": [chunk.version for chunk in chunks],
        "ordinal": [chunk.ordinal for chunk in chunks],
        "text_offset": [offset for _, offset in passages],
        "start_offset": [chunk.start for chunk in chunks],
        "end_offset": [chunk.end for chunk in chunks],
        "page": [_NO_PAGE if chunk.page is None else chunk.page for chunk in chunks],
    }
    types = schema_pb2.DataType
    columns = [
        *(
            schema_pb2.FieldData(type=types.VarChar, field_name=field, scalars=_strings(values))
            for field, values in strings.items()
        ),
        *(
            schema_pb2.FieldData(
                type=types.Int64,
                field_name=field,
                scalars=schema_pb2.ScalarField(long_data=schema_pb2.LongArray(data=values)),
            )
            for field, values in numbers.items()
        ),
        schema_pb2.FieldData(
            type=types.Array,
            field_name="access",
            scalars=schema_pb2.ScalarField(
                array_data=schema_pb2.ArrayArray(
                    data=[_strings(row.access if keyed else access_keys(row.access)) for row in rows],
                    element_type=types.VarChar,
                )
            ),
        ),
        schema_pb2.FieldData(
            type=types.FloatVector,
            field_name=DENSE,
            vectors=schema_pb2.VectorField(
                dim=len(rows[0].vector),
                float_vector=_float_array(np.concatenate([row.vector for row in rows])),
            ),
        ),
    ]
    return milvus_pb2.UpsertRequest(
        collection_name=name, num_rows=len(rows), hash_keys=range(len(rows)), fields_data=columns
    )


# A packed `repeated float` is on the wire what it is in numpy: little-endian IEEE 754. Copying it whole instead of
# number by number is some 50 times faster; tag 0x0A is field 1 of FloatArray, length-delimited.


def _float_array(values: NDArray[np.float32]) -> schema_pb2.FloatArray:
    raw = values.astype("<f4", copy=False).tobytes()
    length, prefix = len(raw), bytearray(b"\x0a")
    while length > 0x7F:
        prefix.append(length & 0x7F | 0x80)
        length >>= 7
    prefix.append(length)
    return schema_pb2.FloatArray.FromString(bytes(prefix) + raw)


def _floats(array: schema_pb2.FloatArray) -> NDArray[np.float32]:
    count = len(array.data)
    raw = array.SerializeToString()
    return np.frombuffer(raw, dtype="<f4", count=count, offset=len(raw) - 4 * count)


def _strings(values: Sequence[str]) -> schema_pb2.ScalarField:
    return schema_pb2.ScalarField(string_data=schema_pb2.StringArray(data=values))


def _check(rows: Sequence[ChunkRow], strings: dict[str, list[str]]) -> None:
    dimension = rows[0].vector.shape
    for row in rows:
        if not is_chunk_id(row.chunk.chunk_id):
            raise InvalidArgument.field("chunk_id", "1 to 128 letters, digits, or any of _ . : -")
        if row.vector.shape != dimension or row.vector.ndim != 1:
            raise InvalidArgument.field("vector", "every row needs one vector, and all of the same length")
        if len(row.access) > MAX_ACCESS:
            raise InvalidArgument.field("access", f"at most {MAX_ACCESS} groups, not {len(row.access)}")
    for field, values in strings.items():
        for value in values:
            try:
                size = len(value) if value.isascii() else len(value.encode())
            except UnicodeEncodeError as error:
                raise InvalidArgument.field(field, "not Unicode text: it holds half a surrogate pair") from error
            if size > MAX_VARCHAR_BYTES:
                told = "text (with title and headings)" if field == "passage" else field
                raise InvalidArgument.field(told, f"at most {MAX_VARCHAR_BYTES} bytes of UTF-8, not {size}")


def stored(fields: Sequence[schema_pb2.FieldData], chunk_ids: Sequence[str]) -> list[ChunkRow]:
    """The rows of a reply that holds every field, in its order, with their access lists as the store keeps them."""
    access = next((field.scalars.array_data.data for field in fields if field.field_name == "access"), ())
    hits = scored(fields, chunk_ids, [0.0] * len(chunk_ids))
    return [
        ChunkRow(hit.chunk, hit.vector, tuple(groups.string_data.data))
        for hit, groups in zip(hits, access, strict=True)
        if hit.vector is not None
    ]


def scored(
    fields: Sequence[schema_pb2.FieldData], chunk_ids: Sequence[str], scores: Sequence[float]
) -> list[ScoredChunk]:
    """The chunks of a reply, in its order. The store sends the fields in any order."""
    strings: dict[str, list[str]] = {}
    numbers: dict[str, list[int]] = {}
    vectors: NDArray[np.float32] | None = None
    for field in fields:
        if field.field_name == DENSE:
            vectors = _floats(field.vectors.float_vector).reshape(-1, field.vectors.dim)
        elif field.type == schema_pb2.DataType.VarChar:
            strings[field.field_name] = list(field.scalars.string_data.data)
        elif field.type == schema_pb2.DataType.Int64:
            numbers[field.field_name] = list(field.scalars.long_data.data)
    if not chunk_ids:
        return []
    chunks = [
        Chunk(
            chunk_id,
            document_id,
            version,
            ordinal,
            text[offset:],
            title,
            () if headings == "[]" else tuple(json.loads(headings)),
            start,
            end,
            None if page == _NO_PAGE else page,
        )
        for chunk_id, document_id, version, ordinal, text, offset, title, headings, start, end, page in zip(
            chunk_ids,
            strings["document_id"],
            numbers["version"],
            numbers["ordinal"],
            strings["passage"],
            numbers["text_offset"],
            strings["title"],
            strings["heading_path"],
            numbers["start_offset"],
            numbers["end_offset"],
            numbers["page"],
            strict=True,
        )
    ]
    return [
        ScoredChunk(chunk, score, None if vectors is None else vectors[i])
        for i, (chunk, score) in enumerate(zip(chunks, scores, strict=True))
    ]
