"""The name, type and shape of a tensor, as a bundle records them."""

from __future__ import annotations

import msgspec

from .convert import TEXT


class ServedLevels(msgspec.Struct, frozen=True):
    """The levels of a column of categories, in their order; `type` is the pandas type of their index."""

    values: list[bool | int | float | str]
    type: str
    ordered: bool = False


class TensorType(msgspec.Struct, frozen=True, dict=True):
    """Name, value type and shape of a tensor; -1 stands for any length, and the first axis counts rows.

    `column_type` is the pandas type of a table's column if it differs, such as `str` or `Int64`. `missing` is the
    marker of a missing value among objects: `nan`, `None`, `NaT` or `NA`. A column of categories has `levels`, and
    `dtype` is their type. `required` means that the model does not accept missing values there.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    column_type: str | None = None
    missing: str | None = None
    levels: ServedLevels | None = None
    required: bool = False

    @property
    def nullable(self) -> bool:
        """Whether this is a column of whole numbers or booleans in which values may be missing."""
        return self.column_type is not None and self.dtype not in TEXT and not self.dtype.startswith("float")

    @property
    def level(self) -> TensorType:
        """The tensor that describes the levels themselves."""
        return TensorType(self.name, self.dtype, (-1,), self.levels.type if self.levels else self.column_type)
