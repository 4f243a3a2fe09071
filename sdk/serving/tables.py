"""Builds tables for models trained on one: each column has the type and missing marker of the training table.

The content of a request must not decide: pandas creates a text column if it holds a text and an object column if not,
and a model answers the two differently.
"""

from __future__ import annotations

import importlib
import math
import numbers
from typing import TYPE_CHECKING, Any

from . import arrow
from .arrow import ARROW
from .convert import TEXT, as_array, missing
from .readers import reader

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .convert import Array
    from .tensors import TensorType


def pandas() -> Any:
    """Import pandas lazily, since it is slow to import and not always installed."""
    return importlib.import_module("pandas")


def table(tensors: Mapping[str, Array], inputs: Sequence[TensorType], *, integer_columns: bool = False) -> Any:
    """Build a DataFrame of checked columns in the order of the signature.

    Args:
        tensors: The columns.
        inputs: Their tensors in the signature.
        integer_columns: Whether their names are whole numbers, written as text.
    """
    frame = pandas().DataFrame({one.name: column(one, tensors[one.name]) for one in inputs})
    if integer_columns:
        frame.columns = [int(one.name) for one in inputs]
    return frame


def column(tensor: TensorType, values: Array) -> Any:
    """Convert a column to the type that it has in the training table.

    Args:
        tensor: Its tensor in the signature; bundles of earlier versions have no ``column_type``.
        values: Checked values; a missing one is ``None``, NaN, NaT, or -1 among codes of categories.
    """
    kind = tensor.column_type
    if kind is None and tensor.dtype not in TEXT:
        return values
    pd = pandas()
    if tensor.levels is not None:
        return pd.Series(pd.Categorical.from_codes(values, dtype=categories(tensor)))
    if kind is None:
        kind = default_text()
    if kind == "object":
        return pd.Series(marked(tensor, values), dtype=object)
    if kind.endswith(ARROW):
        return arrow.column(kind, values)
    if values.dtype.kind == "M":
        return pd.Series(values).dt.tz_localize("UTC").dt.tz_convert(pd.api.types.pandas_dtype(kind).tz)
    return pd.Series(pd.array(values.tolist() if values.dtype.kind == "O" else values, dtype=kind))


def categories(tensor: TensorType) -> Any:
    """Return the pandas type of a column of categories; the tensor keeps it, since its levels can be many."""
    known = vars(tensor)
    if "categories" not in known:
        known["categories"] = _categories(tensor)
    return known["categories"]


def _categories(tensor: TensorType) -> Any:
    """Return the pandas type of a column of categories, with the levels of the training table in their order."""
    pd, levels, level = pandas(), tensor.levels, tensor.level
    if levels is None:
        raise TypeError(f"{tensor.name} has no levels")
    values = reader(level)(as_array(levels.values, tensor.name, tensor.dtype), tensor.name, None)
    listed = pd.Series(values) if levels.type == tensor.dtype else column(level, values)
    return pd.CategoricalDtype(pd.Index(listed, dtype=listed.dtype), ordered=levels.ordered)


def default_text() -> str:
    """Return the type that pandas gives a column of text by default."""
    return "str" if int(pandas().__version__.partition(".")[0]) >= 3 else "object"


def marked(tensor: TensorType, values: Array) -> Array:
    """Replace missing values among objects by the marker that they had in training."""
    if values.dtype.kind != "O" and tensor.column_type != "object":
        return values
    name, gaps = tensor.missing or "None", missing(values)
    if not gaps.any():
        return values
    found: Array = values.astype(object)
    found[gaps] = {"None": None, "nan": math.nan}[name] if name in {"None", "nan"} else getattr(pandas(), name)
    return found


def guessed(rows: list[list[Any]], columns: list[str], *, numeric: bool) -> Any:
    """Build a table with unrecorded types as pandas guesses them; set the types of columns with missing values.

    Args:
        rows: Cells in the order of the columns.
        columns: Their names.
        numeric: Whether the model takes numbers only. A column with only missing values is then numeric. Otherwise it
            may be text, and both kinds of estimators read NaN among objects as missing.
    """
    frame = pandas().DataFrame(rows, columns=columns)
    for number, name in enumerate(columns):
        cells = [row[number] for row in rows]
        if None not in cells:
            continue
        known = [cell for cell in cells if cell is not None]
        is_number = all(isinstance(cell, numbers.Real) for cell in known)
        kind: Any = float if is_number and (known or numeric) else object if not known else default_text()
        filled = [math.nan if cell is None else cell for cell in cells]
        if is_number or all(isinstance(cell, str) for cell in known):
            frame[name] = pandas().Series(filled, dtype=kind)
    return frame
