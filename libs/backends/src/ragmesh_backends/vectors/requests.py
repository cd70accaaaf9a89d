"""Messages to Milvus that read and delete."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ragmesh_backends.vectors import schema
from ragmesh_backends.vectors.contract import common_pb2, key_values, milvus_pb2, schema_pb2
from ragmesh_backends.vectors.expressions import Expression
from ragmesh_servicekit.errors import InvalidArgument

VERSION_KEY = "version_key"
ODD_WEIGHT = "Invalid sparse row"
"""What milvus-lite 2.5 answers to BM25 when a word's weight comes out as no number, on a collection without rows, or
below zero, while another call writes: it reads how many passages there are and how many hold the word one after the
other."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")


def check_name(name: str) -> None:
    """A physical collection's name goes into paths and SQL of the store: only what Milvus calls an identifier."""
    if _NAME.fullmatch(name) is None:
        raise InvalidArgument.field("index.name", "1 to 255 letters, digits or _, and no digit first")


@dataclass(frozen=True, slots=True)
class Query:
    """One query as Milvus wants it: a type and its bytes."""

    kind: common_pb2.PlaceholderType
    data: bytes


def vector_query(vector: NDArray[np.float32]) -> Query:
    return Query(common_pb2.PlaceholderType.FloatVector, vector.astype("<f4", copy=False).tobytes())


def text_query(text: str) -> Query:
    """Half a surrogate pair cannot be sent and is no word: it becomes a question mark. A NUL becomes a blank."""
    return Query(common_pb2.PlaceholderType.VarChar, text.replace("\x00", " ").encode("utf-8", "replace"))


def search(
    name: str, field: str, query: Query, limit: int, where: Expression, *, with_vectors: bool
) -> milvus_pb2.SearchRequest:
    """The best `limit` rows of one leg."""
    placeholders = common_pb2.PlaceholderGroup(
        placeholders=[common_pb2.PlaceholderValue(tag="$0", type=query.kind, values=[query.data])]
    )
    return milvus_pb2.SearchRequest(
        collection_name=name,
        dsl=str(where),
        dsl_type=common_pb2.DslType.BoolExprV1,
        placeholder_group=placeholders.SerializeToString(),
        nq=1,
        output_fields=[*schema.DISPLAYED, schema.DENSE] if with_vectors else schema.DISPLAYED,
        search_params=key_values(
            topk=limit, anns_field=field, metric_type=schema.METRICS[field], params="{}", round_decimal=-1
        ),
        use_default_consistency=False,
        consistency_level=common_pb2.ConsistencyLevel.Bounded,
    )


def query(name: str, where: Expression, fields: Sequence[str], *, strong: bool) -> milvus_pb2.QueryRequest:
    """Every row that `where` lets through. strong: having waited for all that was written before."""
    levels = common_pb2.ConsistencyLevel
    return milvus_pb2.QueryRequest(
        collection_name=name,
        expr=str(where),
        output_fields=fields,
        use_default_consistency=False,
        consistency_level=levels.Strong if strong else levels.Bounded,
    )


def count(name: str) -> milvus_pb2.QueryRequest:
    """How many rows there are."""
    return milvus_pb2.QueryRequest(
        collection_name=name,
        expr="",
        output_fields=["count(*)"],
        use_default_consistency=False,
        consistency_level=common_pb2.ConsistencyLevel.Strong,
    )


def delete(name: str, where: Expression) -> milvus_pb2.DeleteRequest:
    return milvus_pb2.DeleteRequest(collection_name=name, expr=str(where))


def strings(fields: Sequence[schema_pb2.FieldData], name: str) -> list[str]:
    """One text column of a reply; empty when the reply has none."""
    for field in fields:
        if field.field_name == name:
            return list(field.scalars.string_data.data)
    return []
