"""Readers of typed values in the body or query of a request; they refuse other types as Google's parser does."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

from .errors import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

Json = dict[str, Any]


def part(value: Json, name: str) -> Json:
    """Return an object inside an object, empty when it is left out.

    Raises:
        Refusal: The value has another type.
    """
    found: Any = value.get(name)
    if found is not None and not isinstance(found, dict):
        raise _not_a("message", name, found)
    return cast("Json", found or {})


def many(value: Json, name: str) -> list[Any]:
    """Return a list inside an object, empty when it is left out.

    Raises:
        Refusal: The value has another type.
    """
    found: Any = value.get(name)
    if found is None:
        return []
    if not isinstance(found, list):
        raise _not_a("repeated field", name, found)
    return list[Any](found)  # pyright: ignore[reportUnknownArgumentType] - any JSON


def parts(value: Json, name: str) -> list[Json]:
    """Return a list of objects.

    Raises:
        Refusal: The value has another type.
    """
    return _all(many(value, name), dict, "message", name)


def words(value: Json, name: str) -> list[str]:
    """Return a list of strings.

    Raises:
        Refusal: The value has another type.
    """
    return _all(many(value, name), str, "TYPE_STRING", name)


def texts(value: Json, name: str) -> dict[str, str]:
    """Return strings by name.

    Raises:
        Refusal: The value has another type.
    """
    found = part(value, name)
    return {key: text(found, key) for key in found}


def text(value: Mapping[str, Any], name: str) -> str:
    """Return a string, empty when it is left out.

    Raises:
        Refusal: The value has another type.
    """
    found: Any = value.get(name)
    if found is not None and not isinstance(found, str):
        raise _not_a("TYPE_STRING", name, found)
    return found or ""


def integer(value: Mapping[str, Any], name: str, default: int = 0) -> int:
    """Return a whole number, which JSON may hold as a string.

    Raises:
        Refusal: The value has another type.
    """
    found: Any = value.get(name)
    if found is None or found == "":
        return default
    if isinstance(found, str) and re.fullmatch(r"-?[0-9]{1,19}", found):
        return int(found)
    if isinstance(found, int) and not isinstance(found, bool):
        return found
    raise _not_a("TYPE_INT32", name, found)


def duration(value: Json, name: str, default: float = 0.0) -> float:
    """Return seconds, written as ``"3.5s"``.

    Raises:
        Refusal: The value has another type.
    """
    found = text(value, name)
    if not found:
        return default
    if not re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,9})?s", found):
        raise _not_a("type.googleapis.com/google.protobuf.Duration", name, found)
    return float(found[:-1])


def _all(found: list[Any], kind: type, word: str, name: str) -> list[Any]:
    for one in found:
        if not isinstance(one, kind):
            raise _not_a(word, name, one)
    return found


def _not_a(kind: str, name: str, found: Any) -> Refusal:
    shown = str(found)[:100]
    return Refusal("INVALID_ARGUMENT", f"Invalid JSON payload received. Invalid value at '{name}' ({kind}), {shown!r}")
