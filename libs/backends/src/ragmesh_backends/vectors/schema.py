"""The physical collection of one index: its fields, its analyzer and its two search indexes.

The collection's description names the layout of its rows, so that a program knows whether it can read them.

passage is what BM25 indexes: title, headings and text, so that a question that names a document's subject finds a
passage that only says "it". The chunk's own text is passage[text_offset:], so that no text is stored twice.
"""

from __future__ import annotations

import json

from ragmesh_backends.model.collection import IndexSpec, Language
from ragmesh_backends.vectors.contract import common_pb2, key_values, milvus_pb2, schema_pb2
from ragmesh_servicekit.errors import FailedPrecondition

LAYOUT = 1
"""Goes up with every change of fields, keys or analyzer after which rows are read differently. A collection without a
number was made before there were numbers, and has layout 1."""

MAX_VARCHAR_BYTES = 65_535
"""Milvus' limit of a VARCHAR."""
MAX_ACCESS = 256
DENSE = "vector"
LEXICAL = "lexical"
METRICS = {DENSE: "COSINE", LEXICAL: "BM25"}
INDEXES = {DENSE: "FLAT", LEXICAL: "SPARSE_INVERTED_INDEX"}

DISPLAYED = (
    "chunk_id",
    "document_id",
    "version",
    "ordinal",
    "title",
    "heading_path",
    "passage",
    "text_offset",
    "start_offset",
    "end_offset",
    "page",
)
"""What a hit needs."""


_DESCRIPTION = "ragmesh layout "


def require_known_layout(description: str) -> None:
    """Raises FailedPrecondition when the collection of this description was made by a newer program."""
    number = description.removeprefix(_DESCRIPTION)
    if description.startswith(_DESCRIPTION) and number.isdecimal() and int(number) > LAYOUT:
        raise FailedPrecondition(
            f"the collection's index in the vector store has layout {number}, written by a newer ragmesh; this one "
            f"knows layout {LAYOUT}: run the newer program or restore a backup"
        )


def _analyzer(language: Language) -> str:
    """Words are lower-cased, stemmed, and lose their accents (a question is often typed without them: on MuSiQue it
    raises R@5 of this leg from 48.6 to 49.8 %). Stemmers other than the English one read accents, so they come first.
    Only for English does Milvus 2.5 know a list of stop words; elsewhere BM25's own weights make frequent words count
    for little."""
    filters: list[object] = ["lowercase"]
    stemmer = {"type": "stemmer", "language": language.value}
    if language is Language.ENGLISH:
        filters += ["asciifolding", {"type": "stop", "stop_words": ["_english_"]}, stemmer]
    elif language is not Language.NONE:
        filters += [stemmer, "asciifolding"]
    return json.dumps({"tokenizer": "standard", "filter": filters})


def _field(name: str, data_type: schema_pb2.DataType, **parameters: object) -> schema_pb2.FieldSchema:
    return schema_pb2.FieldSchema(name=name, data_type=data_type, type_params=key_values(**parameters))


def collection_schema(name: str, spec: IndexSpec) -> schema_pb2.CollectionSchema:
    """The fields of a collection of this spec, and the function that derives the BM25 vector from passage."""
    types = schema_pb2.DataType
    chunk_id = _field("chunk_id", types.VarChar, max_length=128)
    chunk_id.is_primary_key = True
    access = _field("access", types.Array, max_length=32, max_capacity=MAX_ACCESS)
    access.element_type = types.VarChar
    passage = _field(
        "passage",
        types.VarChar,
        max_length=MAX_VARCHAR_BYTES,
        enable_analyzer="true",
        analyzer_params=_analyzer(spec.language),
    )
    lexical = _field(LEXICAL, types.SparseFloatVector)
    lexical.is_function_output = True
    return schema_pb2.CollectionSchema(
        name=name,
        description=f"{_DESCRIPTION}{LAYOUT}",
        fields=[
            chunk_id,
            _field("document_id", types.VarChar, max_length=MAX_VARCHAR_BYTES),
            _field("document_key", types.VarChar, max_length=32),
            _field("version_key", types.VarChar, max_length=64),
            _field("version", types.Int64),
            _field("ordinal", types.Int64),
            _field("title", types.VarChar, max_length=MAX_VARCHAR_BYTES),
            _field("heading_path", types.VarChar, max_length=MAX_VARCHAR_BYTES),
            passage,
            _field("text_offset", types.Int64),
            _field("start_offset", types.Int64),
            _field("end_offset", types.Int64),
            _field("page", types.Int64),
            access,
            _field(DENSE, types.FloatVector, dim=spec.dimension),
            lexical,
        ],
        functions=[
            schema_pb2.FunctionSchema(
                name="bm25",
                type=schema_pb2.FunctionType.BM25,
                input_field_names=["passage"],
                output_field_names=[LEXICAL],
            )
        ],
    )


def create_collection(name: str, spec: IndexSpec) -> milvus_pb2.CreateCollectionRequest:
    return milvus_pb2.CreateCollectionRequest(
        collection_name=name,
        schema=collection_schema(name, spec).SerializeToString(),
        shards_num=1,
        consistency_level=common_pb2.ConsistencyLevel.Bounded,
    )


def create_indexes(name: str) -> list[milvus_pb2.CreateIndexRequest]:
    """Exact search on both legs: FLAT, and an inverted index."""
    return [
        milvus_pb2.CreateIndexRequest(
            collection_name=name,
            field_name=field,
            index_name=field,
            extra_params=key_values(index_type=INDEXES[field], metric_type=METRICS[field]),
        )
        for field in (DENSE, LEXICAL)
    ]
