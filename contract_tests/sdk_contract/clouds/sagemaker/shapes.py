"""Checks requests against botocore's model of the API, in the words in which AWS refuses them."""

from __future__ import annotations

import functools
import re
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import invalid

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@functools.cache
def service_model(service: str) -> Any:
    """Botocore's model of a service."""
    return import_module("botocore.session").get_session().get_service_model(service)


def check(operation: str, values: Mapping[str, Any]) -> None:
    """Refuses what the model of SageMaker does not allow.

    Raises:
        AwsError: A member is missing, too long, or has another form.
    """
    shape = service_model("sagemaker").operation_model(operation).input_shape
    found = list(_problems(shape, values, "")) if shape else []
    if found:
        count = f"{len(found)} validation error{'s' if len(found) > 1 else ''} detected: "
        raise invalid(count + "; ".join(found))


def knows(operation: str) -> bool:
    """Whether SageMaker has such an operation at all."""
    return operation in service_model("sagemaker").operation_names


def _problems(shape: Any, value: Any, where: str) -> Iterator[str]:
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
    elif shape.type_name in {"integer", "long", "float", "double"} and not isinstance(value, bool):
        yield from _number(shape, value, where)


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
    if pattern and not _pattern(pattern).fullmatch(value):
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


@functools.cache
def _pattern(text: str) -> re.Pattern[str]:
    """The model has Java's patterns, which are Python's but for the names of classes."""
    named = text.replace(r"\p{L}", r"\w").replace(r"\p{Z}", r"\s").replace(r"\p{N}", r"\d")
    try:
        return re.compile(named, re.DOTALL)
    except re.error:
        return re.compile(".*", re.DOTALL)
