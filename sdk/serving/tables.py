"""Tables for models that were trained on one: each column has the type and the missing marker of the training table.

What is in a request must not decide: pandas makes text of a column with one text in it, and objects of one without, and
a model answers the two differently.
"""

from __future__ import annotations

import importlib
import math
import numbers
from typing import TYPE_CHECKING, Any

import numpy as np

from .convert import TEXT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .convert import Array
    from .signature import Tensor

_MARKERS = {"nan": math.nan, "None": None}


def pandas() -> Any:
    """The library, which is slow to import and not always there."""
    return importlib.import_module("pandas")


def table(tensors: Mapping[str, Array], inputs: Sequence[Tensor]) -> Any:
    """A DataFrame of checked columns, in the order of the signature."""
    return pandas().DataFrame({one.name: column(one, tensors[one.name]) for one in inputs})


def column(tensor: Tensor, values: Array) -> Any:
    """A column in the type of the training table.

    Args:
        tensor: What the signature says; bundles of earlier versions say no ``column_type``.
        values: Checked values; a missing one is ``None``, in floats NaN.
    """
    kind = tensor.column_type
    if kind is None and tensor.dtype not in TEXT:
        return values
    pd = pandas()
    if kind is None:
        kind = default_text()
    if kind == "object":
        return pd.Series(marked(tensor, values), dtype=object)
    return pd.Series(pd.array(values.tolist() if values.dtype.kind == "O" else values, dtype=kind))


def default_text() -> str:
    """The type that pandas itself gives a column of text."""
    return "str" if int(pandas().__version__.partition(".")[0]) >= 3 else "object"


def marked(tensor: Tensor, values: Array) -> Array:
    """Text whose missing values are what they were when the model was trained."""
    marker = _MARKERS.get(tensor.missing or "None")
    if marker is None or values.dtype.kind != "O":
        return values
    found: Array = np.empty(values.shape, dtype=object)
    found[...] = values
    found[values == None] = marker  # noqa: E711 - each element is compared
    return found


def guessed(rows: list[list[Any]], columns: list[str], *, numeric: bool) -> Any:
    """A table whose types were never recorded, as pandas guesses them, but for columns in which nothing is known.

    Args:
        rows: Cells in the order of the columns.
        columns: Their names.
        numeric: Whether the model takes numbers only. A column of nothing but missing values is then one of numbers;
            otherwise it may be one of text, and NaN among objects is read as missing by both kinds of estimators.
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
