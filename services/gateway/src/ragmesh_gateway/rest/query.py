"""Query strings to the JSON object that `decoding.fill` takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl

from google.protobuf import descriptor as d

from ragmesh_gateway.rest.decoding import fields_by_name, shown
from ragmesh_gateway.rest.paths import badly_encoded
from ragmesh_servicekit.errors import InvalidArgument, Reason

MAX_PARAMETERS = 1000


def parse_query(raw: bytes) -> list[tuple[str, str]]:
    """The parameters of a raw query string, in order. Raises InvalidArgument for one that is not percent-encoded UTF-8,
    instead of replacing what it cannot read."""
    try:
        text = raw.decode("ascii")
        if badly_encoded(text):
            raise ValueError("a percent sign without two hexadecimal digits")
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS)
    except ValueError as error:
        raise InvalidArgument(
            f"query: is not percent-encoded UTF-8 of at most {MAX_PARAMETERS:,} parameters",
            reason=Reason.MALFORMED_REQUEST,
        ) from error


def from_query(descriptor: d.Descriptor, pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """The parameters as a JSON object: `filter.document_ids=a&filter.document_ids=b`."""
    result: dict[str, Any] = {}
    for name, text in pairs:
        holder, level = result, descriptor
        *parents, leaf = name.split(".")
        for parent in parents:
            field = fields_by_name(level).get(parent)
            if field is None or field.message_type is None or field.is_repeated or _is_time(field):
                raise InvalidArgument.field(shown(name), "is not a field of this request", Reason.UNKNOWN_FIELD)
            level = field.message_type
            holder = holder.setdefault(parent, {})
        field = fields_by_name(level).get(leaf)
        if field is None or (field.message_type is not None and not _is_time(field)):
            raise InvalidArgument.field(shown(name), "is not a field of this request", Reason.UNKNOWN_FIELD)
        value: Any = text
        if field.type == d.FieldDescriptor.TYPE_BOOL:
            value = {"true": True, "false": False}.get(text.lower(), text)
        if field.is_repeated:
            holder.setdefault(leaf, []).append(value)
        elif leaf in holder:
            raise InvalidArgument.field(shown(name), "is given twice")
        else:
            holder[leaf] = value
    return result


def _is_time(field: d.FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.full_name == "google.protobuf.Timestamp"
