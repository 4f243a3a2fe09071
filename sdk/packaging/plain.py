"""Hold examples of plain Python values: arrays where numpy is not installed, and records for models that take JSON."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_RANKS: dict[type[object], str] = {bool: "b", int: "i", float: "f", str: "U"}
_NAMES = {"b": "bool", "i": "int64", "f": "float64", "U": "string"}
_INT64 = range(-(2**63), 2**63)


@dataclass(frozen=True, slots=True)
class ValueKind:
    """A type as numpy describes it: ``kind`` is one letter."""

    kind: str

    @property
    def name(self) -> str:
        """The name of the type."""
        return _NAMES[self.kind]

    def __str__(self) -> str:
        return self.name


class PlainArray:
    """Nested lists of one type and shape; iteration yields the rows as they are.

    Example:
        >>> array = PlainArray([[1, 2.5], [3, 4]])
        >>> array.shape, array.dtype.name, array[:1].tolist()
        ((2, 2), 'float64', [[1.0, 2.5]])
    """

    def __init__(self, value: Any) -> None:
        self.shape = _shape(value)
        flat = list(_flat(value))
        self.dtype = _kind(flat)
        self._value = _as_floats(value) if self.dtype.kind == "f" else value

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def flat(self) -> Iterator[Any]:
        """All values in order, without the nesting."""
        return iter(_flat(self._value))

    def tolist(self) -> Any:
        """Return the nested lists."""
        return self._value

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> PlainArray:
        return PlainArray(self._value[rows])

    def close_to(self, other: PlainArray, *, rtol: float, atol: float) -> bool:
        """Check whether all values agree, numbers up to a tolerance; two missing numbers count as equal."""
        pairs = zip(_flat(self._value), _flat(other.tolist()), strict=True)
        if self.dtype.kind != "f":
            return all(a == b for a, b in pairs)
        return all(
            (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=rtol, abs_tol=atol) for a, b in pairs
        )


class JsonRows:
    """Rows that are JSON objects of any form, as in a request; the model gets them unchanged."""

    def __init__(self, rows: list[Any]) -> None:
        self._rows = rows

    def tolist(self) -> list[Any]:
        """Return the rows."""
        return self._rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: slice) -> JsonRows:
        return JsonRows(self._rows[rows])


def _shape(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list | tuple):
        return ()
    inner = {_shape(item) for item in value}  # pyright: ignore[reportUnknownVariableType]
    if len(inner) > 1:
        raise ValueError("the rows are not equally long")
    return (len(value), *next(iter(inner), ()))  # pyright: ignore[reportUnknownArgumentType]


def _flat(value: Any) -> Any:
    if isinstance(value, list | tuple):
        for item in value:  # pyright: ignore[reportUnknownVariableType]
            yield from _flat(item)
    else:
        yield value


def _kind(flat: list[Any]) -> ValueKind:
    kinds = {_rank(item) for item in flat}
    if "" in kinds or ("U" in kinds and len(kinds) > 1):
        raise ValueError("it has values that are not all numbers, all booleans or all text")
    if "i" in kinds and not all(int(item) in _INT64 for item in flat if type(item) is int):
        raise ValueError("it has whole numbers beyond 64 bits")
    return ValueKind(next((kind for kind in ("f", "i", "b", "U") if kind in kinds), "f"))


def _rank(item: object) -> str:
    return _RANKS.get(type(item), "")


def _as_floats(value: Any) -> Any:
    return [_as_floats(item) for item in value] if isinstance(value, list | tuple) else float(value)  # pyright: ignore[reportUnknownVariableType]
