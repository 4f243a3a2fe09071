"""Read the names of the columns from CatBoost's binary format (CBM), a FlatBuffer, without its library."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import mmap
    from collections.abc import Iterator

_MAGIC, _TREES = b"CBM1", 1
# Of categories, numbers, texts and embeddings: the field of the list, and in each feature those of place and name.
_FEATURES = ((4, 1, 2), (5, 2, 4), (12, 1, 2), (18, 1, 2))


def names(data: bytes | mmap.mmap) -> tuple[str, ...]:
    """Return the names of the columns of the first model in the data, in their order; empty if there is none.

    Raises:
        ValueError: The model is damaged.
    """
    start = data.find(_MAGIC)
    if start < 0:
        return ()
    try:
        trees = _Table(data, _target(data, start + 8)).table(_TREES)
        found = [] if trees is None else [one for kind in _FEATURES for one in _features(trees, *kind)]
    except struct.error as error:
        raise ValueError("its columns are cut off") from error
    return tuple(name for _, name in sorted(found))


def _features(trees: _Table, field: int, place: int, name: int) -> Iterator[tuple[int, str]]:
    return ((one.number(place), one.text(name)) for one in trees.tables(field))


def _target(data: bytes | mmap.mmap, place: int) -> int:
    """Return the place that the reference at a place leads to."""
    return place + int(struct.unpack_from("<I", data, place)[0])


class _Table:
    """A table of a FlatBuffer: its fields are found by their numbers in the schema."""

    def __init__(self, data: bytes | mmap.mmap, place: int) -> None:
        self._data = data
        self._place = place

    def table(self, field: int) -> _Table | None:
        """Return the table in a field."""
        place = self._field(field)
        return None if place is None else _Table(self._data, _target(self._data, place))

    def tables(self, field: int) -> Iterator[_Table]:
        """Iterate over the tables in a field."""
        place = self._field(field)
        if place is None:
            return
        first = _target(self._data, place) + 4
        for number in range(self._unsigned(first - 4)):
            yield _Table(self._data, _target(self._data, first + 4 * number))

    def number(self, field: int) -> int:
        """Return the whole number in a field; 0, which is not stored, is the default."""
        place = self._field(field)
        return 0 if place is None else self._unsigned(place)

    def text(self, field: int) -> str:
        """Return the text in a field; empty if there is none."""
        place = self._field(field)
        if place is None:
            return ""
        start = _target(self._data, place) + 4
        return self._data[start : start + self._unsigned(start - 4)].decode()

    def _unsigned(self, place: int) -> int:
        return int(struct.unpack_from("<I", self._data, place)[0])

    def _field(self, field: int) -> int | None:
        known = self._place - struct.unpack_from("<i", self._data, self._place)[0]
        slot = 4 + 2 * field
        if known < 0 or slot >= struct.unpack_from("<H", self._data, known)[0]:
            return None
        offset = int(struct.unpack_from("<H", self._data, known + slot)[0])
        return self._place + offset if offset else None
