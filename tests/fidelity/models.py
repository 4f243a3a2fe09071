"""What is common to the official models of all three clouds: members with their paths, and valid values for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sdk_contract.clouds.members import steps

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Member:
    """One member of the input of an operation, as the official model has it.

    Attributes:
        path: As in the tables of played members.
        inner: Whether members of it follow, which are listed on their own.
        choices: The values of an enumeration.
    """

    path: str
    inner: bool = False
    choices: tuple[Any, ...] = ()


def value_at(body: Any, path: str) -> Any:
    """The value at a path, that of the first item of each list; ``None`` when there is none."""
    for step in steps(path):
        if step == "[]":
            body = body[0] if body else None
        elif step == "{}":
            body = next(iter(body.values()), None) if body else None
        else:
            body = body.get(step) if isinstance(body, dict) else None
    return body


def told(path: str) -> str:
    """A path as a refusal names it.

    Example:
        >>> told("A[].B")
        'A[0].B'
    """
    return path.replace("[]", "[0]").replace("{}", ".k")


def without(body: Mapping[str, Any], path: str) -> dict[str, Any]:
    """A copy of a request without one member."""
    first, *rest = steps(path)
    return {
        name: _without(value, rest) if name == first and rest else value
        for name, value in body.items()
        if name != first or rest
    }


def _without(value: Any, rest: list[str]) -> Any:
    if rest[0] == "[]" and isinstance(value, list) and value:
        return [_without(value[0], rest[1:]) if len(rest) > 1 else value[0], *value[1:]]
    return without(value, ".".join(rest)) if isinstance(value, dict) else value
