"""What rows are filtered by: keys of fixed length and harmless letters in place of the ids that callers choose.

A document id or a group may hold any character; milvus-lite 2.5 cannot compare some of them (a line feed ends its
parser) and puts primary keys unescaped into SQL. A key is the hex BLAKE2b-128 of the id: two ids of one index share
a key with a probability of n^2 / 2^129.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import blake2b

from ragmesh_backends.model.document import DocumentVersion
from ragmesh_backends.model.search import SearchFilter
from ragmesh_backends.vectors.expressions import AllOf, Expression, OneOf, SharesOne

EVERYONE = "everyone"
"""The access entry of a chunk that the whole tenant may see; no group's key looks like it."""

_CHUNK_ID = re.compile(r"[A-Za-z0-9_.:\-]{1,128}")


def key(text: str) -> str:
    """The key of an id: 32 hexadecimal digits. An unpaired surrogate is taken as it is."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def version_key(version: DocumentVersion) -> str:
    return f"{key(version.document_id)}.{version.version}"


def access_keys(groups: Sequence[str]) -> list[str]:
    """How a row's access list is stored."""
    return [key(group) for group in groups] or [EVERYONE]


def is_chunk_id(text: str) -> bool:
    """Whether the store can hold a row of this id."""
    return _CHUNK_ID.fullmatch(text) is not None


def seen_by(where: SearchFilter, *more: Expression) -> Expression:
    """What `where` lets through, narrowed by `more`."""
    parts: list[Expression] = [SharesOne("access", (EVERYONE, *(key(group) for group in where.groups))), *more]
    if where.document_ids:
        parts.append(OneOf("document_key", [key(document_id) for document_id in where.document_ids]))
    return parts[0] if len(parts) == 1 else AllOf(parts)
