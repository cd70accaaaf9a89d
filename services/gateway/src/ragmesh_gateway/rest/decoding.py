"""JSON to messages, with errors that name the field: `documents[3].text: must be a string`.

Takes what proto3 JSON takes (numbers as strings, enum names or numbers, camelCase or the proto's names, base64 bytes,
RFC 3339 times, null for absent) and short enum names in any case. An unknown field is refused.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NoReturn

from google.protobuf import descriptor as d
from google.protobuf.message import Message

from ragmesh_gateway.rest.encoding import enum_prefix
from ragmesh_servicekit.errors import InvalidArgument, Reason

F = d.FieldDescriptor
_INTEGER_RANGE = {
    F.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    F.CPPTYPE_UINT32: (0, 2**32 - 1),
    F.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    F.CPPTYPE_UINT64: (0, 2**64 - 1),
}
MAX_DEPTH = 32
MAX_SHOWN = 64
_WHOLE = re.compile(r"-?[0-9]{1,20}")
_DECIMAL = re.compile(r"-?[0-9]{1,40}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,4})?")


def parse_body(body: bytes) -> dict[str, Any]:
    """The JSON object of a request body; an empty body is an empty object."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidArgument("body: is not valid UTF-8", reason=Reason.MALFORMED_REQUEST) from error
    if not text.strip():
        return {}
    try:
        value = parse_json(text)
    except ValueError as error:
        where = f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        raise InvalidArgument(f"body: is not valid JSON{where}", reason=Reason.MALFORMED_REQUEST) from error
    if not isinstance(value, dict):
        raise InvalidArgument("body: must be a JSON object", reason=Reason.MALFORMED_REQUEST)
    return value


def parse_json(text: str) -> Any:
    """The value of a JSON text. Raises ValueError, also for NaN, numbers of absurd length and nesting beyond the stack;
    InvalidArgument for an object that has a name twice."""
    try:
        return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_object)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        names = [name for name, _ in pairs]
        raise InvalidArgument.field(shown(next(n for n in names if names.count(n) > 1)), "is given twice")
    return result


def shown(name: str) -> str:
    """A name from the request as an error may repeat it: short, and Unicode even if it holds a lone surrogate."""
    text = name if len(name) <= MAX_SHOWN else name[:MAX_SHOWN] + "…"
    return text.encode("utf-8", "backslashreplace").decode()


def fill(message: Message, value: Mapping[str, Any], path: str = "", depth: int = 0) -> None:
    """Set the message's fields from a JSON object. Raises InvalidArgument naming the first wrong field."""
    if depth > MAX_DEPTH:
        _refuse(path, f"is nested deeper than {MAX_DEPTH} levels")
    fields = fields_by_name(message.DESCRIPTOR)
    seen: set[int] = set()
    for name, item in value.items():
        here = f"{path}.{shown(name)}" if path else shown(name)
        field = fields.get(name)
        if field is None:
            raise InvalidArgument.field(here, "is not a field of this request", Reason.UNKNOWN_FIELD)
        if field.number in seen:  # once by either name
            _refuse(here, "is given twice")
        seen.add(field.number)
        if item is None:
            continue
        _set(message, field, item, here, depth)


@cache
def fields_by_name(descriptor: d.Descriptor) -> dict[str, d.FieldDescriptor]:
    """The fields of a message by both their names."""
    return {f.json_name: f for f in descriptor.fields} | {f.name: f for f in descriptor.fields}


def _set(message: Message, field: d.FieldDescriptor, item: Any, path: str, depth: int) -> None:
    target: Any = getattr(message, field.name) if field.is_repeated or field.message_type else None
    if field.is_repeated and field.message_type is not None and field.message_type.GetOptions().map_entry:
        _set_map(target, field.message_type, item, path, depth)
    elif field.is_repeated:
        if not isinstance(item, list):
            _refuse(path, "must be a list")
        for index, entry in enumerate(item):
            if field.message_type is not None:
                _set_message(target.add(), entry, f"{path}[{index}]", depth)
            else:
                target.append(_scalar(field, entry, f"{path}[{index}]"))
    elif field.message_type is not None:
        target.SetInParent()
        _set_message(target, item, path, depth)
    else:
        setattr(message, field.name, _scalar(field, item, path))


def _set_map(target: Any, entry: d.Descriptor, item: Any, path: str, depth: int) -> None:
    if not isinstance(item, dict):
        _refuse(path, "must be an object")
    key_field, value_field = entry.fields_by_name["key"], entry.fields_by_name["value"]
    for key, value in item.items():
        here = f"{path}[{json.dumps(shown(key), ensure_ascii=False)}]"
        if value_field.message_type is not None:
            _set_message(target[_scalar(key_field, key, here)], value, here, depth)
        else:
            target[_scalar(key_field, key, here)] = _scalar(value_field, value, here)


def _set_message(target: Message, item: Any, path: str, depth: int) -> None:
    if target.DESCRIPTOR.full_name == "google.protobuf.Timestamp":
        if not isinstance(item, str):
            _refuse(path, "must be an RFC 3339 time such as 2026-01-31T12:00:00Z")
        try:
            target.FromJsonString(item)  # type: ignore[attr-defined]  # Timestamp's own well-known-type method
        except (ValueError, OverflowError):
            _refuse(path, "must be an RFC 3339 time such as 2026-01-31T12:00:00Z")
        return
    if not isinstance(item, dict):
        _refuse(path, "must be an object")
    fill(target, item, path, depth + 1)


def _scalar(field: d.FieldDescriptor, item: Any, path: str) -> Any:
    if field.enum_type is not None:
        return _enum(field.enum_type, item, path)
    if field.type == F.TYPE_STRING:
        if not isinstance(item, str):
            _refuse(path, "must be a string")
        try:
            item.encode()
        except UnicodeEncodeError:
            _refuse(path, "has a lone surrogate, which is not Unicode text")
        return item
    if field.type == F.TYPE_BYTES:
        return _bytes(item, path)
    if field.type == F.TYPE_BOOL:
        if isinstance(item, bool):
            return item
        _refuse(path, "must be true or false")
    if field.cpp_type in _INTEGER_RANGE:
        return _integer(item, path, *_INTEGER_RANGE[field.cpp_type])
    return _number(item, path)


def _integer(item: Any, path: str, least: int, greatest: int) -> int:
    number: int | None = None
    if (isinstance(item, str) and _WHOLE.fullmatch(item)) or (isinstance(item, float) and item.is_integer()):
        number = int(item)
    elif isinstance(item, int) and not isinstance(item, bool):
        number = item
    if number is None:
        _refuse(path, "must be a whole number")
    if not least <= number <= greatest:
        _refuse(path, f"must be from {least} to {greatest}")
    return number


def _number(item: Any, path: str) -> float:
    if isinstance(item, str) and not _DECIMAL.fullmatch(item):
        _refuse(path, "must be a number")
    if isinstance(item, (int, float, str)) and not isinstance(item, bool):
        try:
            number = float(item)
        except (ValueError, OverflowError):
            number = math.nan
        if math.isfinite(number):
            return number
    _refuse(path, "must be a number")


def _bytes(item: Any, path: str) -> bytes:
    if isinstance(item, str):
        try:
            return base64.b64decode(item.replace("-", "+").replace("_", "/") + "=" * (-len(item) % 4), validate=True)
        except (binascii.Error, ValueError):
            pass
    _refuse(path, "must be base64 text")


def _enum(enum: d.EnumDescriptor, item: Any, path: str) -> int:
    if isinstance(item, int) and not isinstance(item, bool) and item in enum.values_by_number:
        return item
    if isinstance(item, str):
        name, prefix = item.upper(), enum_prefix(enum)
        for candidate in (name, prefix + name):
            value = enum.values_by_name.get(candidate)
            if value is not None:
                return int(value.number)
    _refuse(path, f"must be one of {', '.join(_choices(enum))}")


def _choices(enum: d.EnumDescriptor) -> Sequence[str]:
    return [v.name.removeprefix(enum_prefix(enum)) for v in enum.values if v.number]


def _refuse(path: str, description: str) -> NoReturn:
    raise InvalidArgument.field(path, description)
