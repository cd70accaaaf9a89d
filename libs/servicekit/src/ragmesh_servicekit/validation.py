"""The field rules of the contract (`ragmesh.common.v1.field`), checked on messages.

The rules of a message type are compiled once into closures. A violation names the path of the field and the limit.
Beside its rules: no int32 of the contract is negative.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from google.protobuf import descriptor as d
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from ragmesh.common.v1 import options_pb2
from ragmesh_servicekit.errors import FieldViolation, InvalidArgument, Reason

MAX_VIOLATIONS = 10
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
"""Unicode's category Cc but tab and line ends. A pattern, because a document's text may have millions of characters."""
Check = Callable[[Any, str], Iterator[FieldViolation]]


def validate(message: Message) -> None:
    """Raises InvalidArgument with every violation, at most ten."""
    violations: list[FieldViolation] = []
    for violation in _check_message(message.DESCRIPTOR)(message, ""):
        violations.append(violation)
        if len(violations) == MAX_VIOLATIONS:
            break
    if violations:
        text = "; ".join(f"{v.field}: {v.description}" for v in violations)
        raise InvalidArgument(text, violations=violations)


def refuse_unknown_fields(message: Message) -> None:
    """Raises InvalidArgument for a field, at any depth, that the contract does not have."""
    unknown: Any = UnknownFieldSet(message)
    if len(unknown):
        number = unknown[0].field_number
        raise InvalidArgument.field(
            f"{message.DESCRIPTOR.name} field {number}", "is not a field of this request", Reason.UNKNOWN_FIELD
        )
    for field, value in message.ListFields():
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            continue
        for each in value if field.is_repeated else (value,):
            refuse_unknown_fields(each)


@cache
def _check_message(descriptor: d.Descriptor) -> Check:
    checks = [(field.name, check) for field in descriptor.fields if (check := _check_field(field)) is not None]

    def run(message: Any, prefix: str) -> Iterator[FieldViolation]:
        for name, check in checks:
            yield from check(message, f"{prefix}{name}")

    return run


def _check_field(field: d.FieldDescriptor) -> Check | None:
    rules = field.GetOptions().Extensions[options_pb2.field]
    entry = field.message_type
    if field.is_repeated:
        is_map = entry is not None and entry.GetOptions().map_entry
        return _check_map(field, rules) if is_map else _check_list(field, rules)
    if entry is not None:
        return _check_single_message(field, rules)
    value_check = _check_value(field, rules)
    if value_check is None:
        return None
    name, present = field.name, field.has_presence

    def single(message: Any, path: str) -> Iterator[FieldViolation]:
        if not present or message.HasField(name):
            yield from value_check(getattr(message, name), path)

    return single


def _check_single_message(field: d.FieldDescriptor, rules: options_pb2.FieldRules) -> Check | None:
    entry, name = field.message_type, field.name
    if entry is None or entry.full_name.startswith("google."):
        return None

    def nested(message: Any, path: str) -> Iterator[FieldViolation]:
        if message.HasField(name):
            yield from _check_message(entry)(getattr(message, name), f"{path}.")
        elif rules.required:
            yield FieldViolation(path, "is required")

    return nested


def _check_list(field: d.FieldDescriptor, rules: options_pb2.FieldRules) -> Check:
    name, entry = field.name, field.message_type
    if entry is not None and entry.full_name.startswith("google."):
        entry = None
    value_check = None if field.message_type is not None else _check_value(field, rules, in_list=True)

    def each(message: Any, path: str) -> Iterator[FieldViolation]:
        values = getattr(message, name)
        yield from _count(len(values), rules, path)
        if len(values) > (rules.max_items or len(values)):
            return
        for index, value in enumerate(values):
            if entry is not None:
                yield from _check_message(entry)(value, f"{path}[{index}].")
            elif value_check is not None:
                yield from value_check(value, f"{path}[{index}]")

    return each


def _check_map(field: d.FieldDescriptor, rules: options_pb2.FieldRules) -> Check:
    name = field.name

    def pairs(message: Any, path: str) -> Iterator[FieldViolation]:
        values = getattr(message, name)
        yield from _count(len(values), rules, path)
        for key in sorted(values):
            if not key or len(key) > 64:
                yield FieldViolation(f"{path}[{key[:64]!r}]", "a key must have 1 to 64 characters")
            value = values[key]
            if rules.max_length and isinstance(value, str) and len(value) > rules.max_length:
                limit = f"must have at most {rules.max_length:,} characters, not {len(value):,}"
                yield FieldViolation(f"{path}[{key[:64]!r}]", limit)

    return pairs


def _count(count: int, rules: options_pb2.FieldRules, path: str) -> Iterator[FieldViolation]:
    if rules.required and not count:
        yield FieldViolation(path, "is required")
    if rules.max_items and count > rules.max_items:
        yield FieldViolation(path, f"must have at most {rules.max_items:,} entries, not {count:,}")


def _check_value(
    field: d.FieldDescriptor, rules: options_pb2.FieldRules, *, in_list: bool = False
) -> Callable[[Any, str], Iterator[FieldViolation]] | None:
    if field.enum_type is not None:
        return _check_enum(field.enum_type) if rules.known_enum else None
    if field.type == d.FieldDescriptor.TYPE_STRING:
        return _check_string(rules, in_list)
    if rules.minimum or rules.maximum or field.cpp_type in {d.FieldDescriptor.CPPTYPE_INT32}:
        return _check_number(rules)
    return None


def _check_enum(enum: d.EnumDescriptor) -> Callable[[Any, str], Iterator[FieldViolation]]:
    known = set(enum.values_by_number)
    prefix = enum.values_by_number[0].name.removesuffix("UNSPECIFIED")
    names = ", ".join(v.name.removeprefix(prefix) for v in enum.values if v.number)

    def check(value: int, path: str) -> Iterator[FieldViolation]:
        if value not in known:
            yield FieldViolation(path, f"must be one of {names}")

    return check


def _check_number(rules: options_pb2.FieldRules) -> Callable[[Any, str], Iterator[FieldViolation]]:
    def check(value: int, path: str) -> Iterator[FieldViolation]:
        if not value:
            return
        if value < rules.minimum or (rules.maximum and value > rules.maximum):
            limit = f"from {rules.minimum} to {rules.maximum}" if rules.maximum else f"at least {rules.minimum}"
            yield FieldViolation(path, f"must be {limit}, not {value}")

    return check


def _check_string(rules: options_pb2.FieldRules, in_list: bool) -> Callable[[Any, str], Iterator[FieldViolation]]:
    pattern = re.compile(rules.pattern) if rules.pattern else None

    def check(value: str, path: str) -> Iterator[FieldViolation]:
        if not value:
            if rules.required or in_list:
                yield FieldViolation(path, "must not be empty")
        elif rules.max_length and len(value) > rules.max_length:
            yield FieldViolation(path, f"must have at most {rules.max_length:,} characters, not {len(value):,}")
        elif len(value) < rules.min_length:
            yield FieldViolation(path, f"must have at least {rules.min_length:,} characters, not {len(value):,}")
        elif pattern is not None and pattern.fullmatch(value) is None:
            yield FieldViolation(path, f"must match {rules.pattern}")
        elif rules.text:
            yield from _check_text(value, path)

    return check


def _check_text(value: str, path: str) -> Iterator[FieldViolation]:
    if value.isspace():
        yield FieldViolation(path, "must not be only white space")
        return
    found = _CONTROL.search(value)
    if found is not None:
        yield FieldViolation(path, f"has a control character (U+{ord(found[0]):04X}) at position {found.start()}")
