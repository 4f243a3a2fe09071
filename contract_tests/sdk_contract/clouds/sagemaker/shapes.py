"""Checks of requests against botocore's model of the API, with AWS's own error messages."""

from __future__ import annotations

import functools
import re
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from sdk.errors import UnreadableError

from ..members import refusal
from .errors import AwsError, invalid

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ..app import Request
    from ..members import Members

_NUMBERS = {"integer", "long", "float", "double"}
_KINDS: dict[str, tuple[type, ...]] = {
    "structure": (dict,),
    "map": (dict,),
    "list": (list,),
    "string": (str,),
    "blob": (str,),
    "boolean": (bool,),
    "timestamp": (int, float),
    "integer": (int,),
    "long": (int,),
    "float": (int, float),
    "double": (int, float),
}
"""The Python types that each type of member may have in JSON."""


@functools.cache
def service_model(service: str) -> Any:
    """Return botocore's model of a service."""
    return import_module("botocore.session").get_session().get_service_model(service)


def object_of(request: Request) -> dict[str, Any]:
    """Return the JSON object that a request of the JSON protocol sends.

    Raises:
        AwsError: The body is not a JSON object.
    """
    try:
        body = request.json()
    except UnreadableError as error:
        raise AwsError("SerializationException", error.message) from None
    if not isinstance(body, dict):
        raise AwsError("SerializationException", "the body is no JSON object")
    return cast("dict[str, Any]", body)


def check(service: str, operation: str, values: Mapping[str, Any]) -> None:
    """Refuse what the model of a service does not allow.

    Raises:
        AwsError: A member is missing, too long, or has another form.
    """
    shape = service_model(service).operation_model(operation).input_shape
    found = list(_problems(shape, values, "")) if shape else []
    if found:
        count = f"{len(found)} validation error{'s' if len(found) > 1 else ''} detected: "
        raise invalid(count + "; ".join(found))


def check_played(operation: str, members: Members, values: Mapping[str, Any]) -> None:
    """Refuse unsupported members by name.

    Raises:
        AwsError: Some members, or their values, are not supported.
    """
    if named := list(members.refused(values)):
        raise invalid(refusal(operation, named))


def knows(service: str, operation: str) -> bool:
    """Return whether a service has this operation."""
    return operation in service_model(service).operation_names


def _problems(shape: Any, value: Any, where: str) -> Iterator[str]:
    _check_type(shape, value, where)
    if shape.type_name == "structure":
        yield from _structure(shape, value, where)
    elif shape.type_name == "list":
        yield from _size(shape, value, where, "length")
        for number, item in enumerate(value, 1):
            yield from _problems(shape.member, item, f"{where}.{number}.member")
    elif shape.type_name == "map":
        yield from _size(shape, value, where, "length")
        for name, item in value.items():
            yield from _problems(shape.key, name, f"{where}.key")
            yield from _problems(shape.value, item, f"{where}.{name}")
    elif shape.type_name == "string":
        yield from _string(shape, value, where)
    elif shape.type_name in _NUMBERS:
        yield from _number(shape, value, where)


def _check_type(shape: Any, value: Any, where: str) -> None:
    """Refuse a JSON type other than the member's; AWS checks this before any value."""
    kinds = _KINDS.get(shape.type_name, (object,))
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        given = type(value).__name__
        raise AwsError("SerializationException", f"{given} cannot be converted to {shape.type_name} at '{where}'")


def _structure(shape: Any, value: Mapping[str, Any], where: str) -> Iterator[str]:
    for name in shape.required_members:
        if value.get(name) is None:
            path = _join(where, name)
            yield f"Value null at '{path}' failed to satisfy constraint: Member must not be null"
    for name, item in value.items():
        if name in shape.members and item is not None:
            yield from _problems(shape.members[name], item, _join(where, name))


def _string(shape: Any, value: str, where: str) -> Iterator[str]:
    yield from _size(shape, value, where, "length")
    pattern, allowed = shape.metadata.get("pattern"), shape.metadata.get("enum")
    if pattern and not pattern_of(pattern).fullmatch(value):
        yield _said(value, where, f"Member must satisfy regular expression pattern: {pattern}")
    if allowed and value not in allowed:
        yield _said(value, where, f"Member must satisfy enum value set: [{', '.join(allowed)}]")


def _size(shape: Any, value: Any, where: str, what: str) -> Iterator[str]:
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    if most is not None and len(value) > most:
        yield _said(value, where, f"Member must have {what} less than or equal to {most}")
    if least is not None and len(value) < least:
        yield _said(value, where, f"Member must have {what} greater than or equal to {least}")


def _number(shape: Any, value: float, where: str) -> Iterator[str]:
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    if most is not None and value > most:
        yield _said(value, where, f"Member must have value less than or equal to {most}")
    if least is not None and value < least:
        yield _said(value, where, f"Member must have value greater than or equal to {least}")


def _said(value: Any, where: str, constraint: str) -> str:
    return f"Value '{value}' at '{where}' failed to satisfy constraint: {constraint}"


def _join(where: str, name: str) -> str:
    small = name[:1].lower() + name[1:]
    return f"{where}.{small}" if where else small


_CLASSES = {
    "L": r"\w", "N": r"\d", "Z": r"\s", "Zs": r"\s", "M": "\u0300-\u036f", "Alnum": "A-Za-z0-9", "Print": " -~",
    "ASCII": r"\x00-\x7f", "P": r"!-/:-@\[-`{-~\u00a1-\u00bf\u2010-\u2027\u3000-\u303f",
    "S": r"$+<=>^`|~\u00a2-\u00a9\u20a0-\u2bff",
}  # fmt: skip
"""Java's names of character classes, as they are written within brackets here; wider than Java's where unclear."""
_CLASS = re.compile(r"\\p\{(\w+)\}")


@functools.cache
def pattern_of(text: str) -> re.Pattern[str]:
    """Compile a pattern of the model: Java's, which differ from Python's in class names and surrogates."""
    whole = _CLASS.sub(r"[\\p{\1}]", text) if text.startswith(r"\p") else text
    whole = whole.replace(r"\S[\p{Print}]*\z", r"\S[\p{Print}]*\Z").replace(r"[\w-_]", r"[\w_-]")
    whole = whole.replace(r"\uD800\uDC00-\uDBFF\uDFFF", r"\U00010000-\U0010FFFF")
    try:
        return re.compile(_CLASS.sub(lambda found: _CLASSES.get(found[1], r"\S\s"), whole), re.DOTALL)
    except re.error:
        return re.compile(".*", re.DOTALL)
