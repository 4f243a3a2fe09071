"""The members of Google's operations, from the proto types of `google-cloud-aiplatform`, by their names in JSON."""

from __future__ import annotations

import re
from importlib import import_module
from typing import TYPE_CHECKING, Any

from tests.fidelity.models import Member

if TYPE_CHECKING:
    from collections.abc import Iterator

FieldDescriptor: Any = import_module("google.protobuf.descriptor").FieldDescriptor
_CAPITAL = re.compile("[A-Z]")
FREE = {
    "google.protobuf.Struct": {"a": 1},
    "google.protobuf.Value": {"a": 1},
    "google.protobuf.ListValue": [1],
    "google.protobuf.Any": {"@type": "x"},
    "google.protobuf.Timestamp": "2026-01-01T00:00:00Z",
    "google.protobuf.Duration": "60s",
    "google.protobuf.FieldMask": "displayName",
    "google.api.HttpBody": {"data": ""},
}
"""Messages that are one value in JSON, and a value of each."""
_NUMBERS = {
    FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_INT32,
    FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT32, FieldDescriptor.CPPTYPE_UINT64,
}  # fmt: skip


def message_of(operation: str) -> Any:
    """The descriptor of an operation's request."""
    from google.cloud import aiplatform_v1  # takes ten seconds, which the collection of tests should not spend

    kind = getattr(aiplatform_v1, f"{operation}Request")
    return kind.pb(kind()).DESCRIPTOR


def members_of(operation: str) -> list[Member]:
    """Every member of an operation's request, at every depth."""
    return [member for member, _ in _members(message_of(operation), "", ())]


def fields_of(operation: str) -> dict[str, Any]:
    """The descriptor of every member of an operation's request, by its path."""
    return {member.path: field for member, field in _members(message_of(operation), "", ())}


def _members(message: Any, where: str, outer: tuple[str, ...]) -> Iterator[tuple[Member, Any]]:
    for field in message.fields:
        path, kind = f"{where}.{field.json_name}" if where else field.json_name, field.message_type
        entry = kind is not None and kind.GetOptions().map_entry
        inside = kind.fields_by_name["value"].message_type if entry else kind
        nested = inside is not None and inside.full_name not in FREE and inside.full_name not in outer
        choices = tuple(one.name for one in field.enum_type.values) if field.enum_type else ()
        yield Member(path, nested, choices), field
        if nested:
            item = f"{path}{{}}" if entry else f"{path}[]" if field.is_repeated else path
            yield from _members(inside, item, (*outer, inside.full_name))


def value_of(field: Any) -> Any:
    """A valid value of a member."""
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        return {"k": value_of(kind.fields_by_name["value"])}
    if kind is not None:
        one: Any = FREE.get(kind.full_name, {})
    elif field.enum_type is not None:
        one = field.enum_type.values[-1].name
    elif field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        one = True
    else:
        one = 1 if field.cpp_type in _NUMBERS else "x"
    return [one] if field.is_repeated else one


def put(base: Any, path: list[str], value: Any) -> Any:
    """A copy of a request with one member set."""
    if not path:
        return value
    step, *rest = path
    if step == "[]":
        items = list(base or [{}])
        return [put(items[0], rest, value), *items[1:]]
    name = "k" if step == "{}" else step
    held = dict(base or {})
    return {**held, name: put(held.get(name), rest, value)}


def in_snake(value: Any) -> Any:
    """A request with the names of members as in the proto files; all maps of this test have plain keys."""
    if isinstance(value, dict):
        return {
            _CAPITAL.sub(lambda found: f"_{found[0].lower()}", name): in_snake(item) for name, item in value.items()
        }
    return [in_snake(one) for one in value] if isinstance(value, list) else value
