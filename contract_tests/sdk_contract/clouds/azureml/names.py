"""Names as Azure's resource manager treats them: kept as they were given, compared without regard to case."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import TypeVar

T = TypeVar("T")


def same(one: str, other: str) -> bool:
    """Return whether two names mean the same thing.

    Example:
        >>> same("Blue", "BLUE")
        True
    """
    return one.lower() == other.lower()


class Names(MutableMapping[str, T]):
    """A table whose keys are names: looked up without case, listed with the case of their first use.

    Example:
        >>> table = Names[int]()
        >>> table["Blue"] = 1
        >>> table["BLUE"] = 2
        >>> dict(table), "blue" in table
        ({'Blue': 2}, True)
    """

    def __init__(self) -> None:
        self._items: dict[str, tuple[str, T]] = {}

    def __getitem__(self, name: str) -> T:
        return self._items[name.lower()][1]

    def __setitem__(self, name: str, value: T) -> None:
        self._items[name.lower()] = (self.spelled(name), value)

    def __delitem__(self, name: str) -> None:
        del self._items[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter([name for name, _ in self._items.values()])

    def __len__(self) -> int:
        return len(self._items)

    def __eq__(self, other: object) -> bool:
        return dict(self) == other

    __hash__ = None  # type: ignore[assignment]  # a table changes

    def spelled(self, name: str) -> str:
        """Return a name as it was first given; an unknown name is returned unchanged."""
        known = self._items.get(name.lower())
        return known[0] if known else name
