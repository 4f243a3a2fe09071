"""The inputs and outputs of a model, and the conversion of decoded input to them.

A signature has one of four forms:

- *single*: one input tensor;
- *named*: several input tensors, passed to the model as a dict of arrays;
- *table*: `columns` is set, the model was fitted on a DataFrame; inputs are either one tensor `[-1, len(columns)]` of
  one dtype or one tensor `[-1]` per column;
- *free*: no inputs declared: any JSON value, or with `columns` any table that has these columns.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from .columns import axes, rows_in, whole_inputs
from .convert import Array, as_array, check_finite, is_list
from .failures import bad_input
from .readers import Reader, reader
from .tensors import TensorType

Tensors = dict[str, NDArray[Any]]
FREE = "instances"
_SHOWN = 100  # levels


class ServedTensor(TensorType, frozen=True, dict=True):
    """A tensor of a signature, with the reader of its values."""

    @cached_property
    def read(self) -> Reader:
        """The reader that converts decoded values to those of this tensor."""
        return reader(self)


class ServedSignature(msgspec.Struct, frozen=True, dict=True):
    """The inputs and outputs of a model as its bundle records them."""

    inputs: list[ServedTensor] = []
    columns: list[str] | None = None
    outputs: list[ServedTensor] = []
    rowwise: bool = False
    allow_nan: bool = False
    integer_columns: bool = False
    records: bool = False

    @property
    def free(self) -> bool:
        """Whether types and shapes are unknown and therefore not checked."""
        return not self.inputs

    def described(self) -> dict[str, Any]:
        """Return the signature for display, with only the first of many levels."""
        shown: dict[str, Any] = msgspec.to_builtins(self)
        for one in shown["inputs"]:
            if one["levels"] and len(one["levels"]["values"]) > _SHOWN:
                one["levels"] |= {"values": one["levels"]["values"][:_SHOWN], "count": len(one["levels"]["values"])}
        return shown

    @cached_property
    def exact(self) -> bool:
        """Whether numbers must keep all their digits, because an input is of decimal numbers."""
        return any(one.dtype == "decimal" for one in self.inputs)

    @cached_property
    def per_column(self) -> bool:
        """Whether a table has one tensor, and so one dtype, per column."""
        return self.columns is not None and [one.name for one in self.inputs] == self.columns

    def rows(self, instances: dict[str, Any]) -> list[Any]:
        """Return the rows in `instances` given as one dict of columns, or as one record.

        Raises:
            RequestError: 400 naming which value is a column and which is not.
        """
        known = axes(self)
        if known and not known.keys() & instances.keys():
            message = f"`instances` must be a list of rows, or an object with the keys {_list(list(known))}"
            raise bad_input("bad_request", message, FREE)
        try:
            return rows_in(instances, known)
        except ValueError as error:
            raise bad_input("bad_shape", str(error), FREE) from None

    def from_instances(self, instances: list[Any]) -> Tensors:
        """Convert the `instances` of a JSON request, one item per row.

        Raises:
            RequestError: 400 naming the invalid row and its column or input.
        """
        if not instances:
            raise bad_input("empty", "`instances` is empty; send at least one row", "instances")
        if self.columns is not None:
            return self._from_table(instances, self.columns)
        if len(self.inputs) == 1 and not (isinstance(instances[0], dict) and self.inputs[0].name in instances[0]):
            array = self._gathered(self.inputs[0], instances, FREE)
            return {self.inputs[0].name: self._fit(self.inputs[0], array, FREE)}
        return self._from_dicts(instances, [one.name for one in self.inputs])

    def from_array(self, array: Array, field: str) -> Tensors:
        """Convert one array that holds the whole input."""
        if self.per_column:
            return self.from_tensors({field: array})
        if len(self.inputs) != 1:
            names = ", ".join(one.name for one in self.inputs)
            raise bad_input("missing_input", f"one array cannot fill the {len(self.inputs)} inputs {names}", field)
        return {self.inputs[0].name: self._fit(self.inputs[0], array, field)}

    def from_tensors(self, given: Tensors) -> Tensors:
        """Convert tensors given by name; a table can also be one tensor with all its columns.

        Raises:
            RequestError: 400 for a missing, unknown or invalid tensor.
        """
        if self.per_column and len(given) == 1 and not given.keys() <= set(self.columns or ()):
            ((field, array),) = given.items()
            given = self._split_columns(array, field)
        expected = [one.name for one in self.inputs]
        _check_names(given, expected, "inputs")
        tensors = {one.name: self._fit(one, given[one.name], one.name) for one in self.inputs}
        self._check_equal_rows(tensors)
        return tensors

    @cached_property
    def whole(self) -> frozenset[str]:
        """The inputs with one value for the whole request."""
        return whole_inputs(self.inputs)

    def row_count(self, tensors: Tensors) -> int:
        """Return how many rows these tensors have; 1 if no input has rows."""
        return next((len(array) for name, array in tensors.items() if array.ndim and name not in self.whole), 1)

    def _check_equal_rows(self, tensors: Tensors) -> None:
        counts = {name: len(array) for name, array in tensors.items() if array.ndim and name not in self.whole}
        if len(set(counts.values())) > 1:
            told = ", ".join(f"{name} {count}" for name, count in counts.items())
            raise bad_input("bad_shape", f"all inputs must have the same number of rows, got {told}", "inputs")

    def _gathered(self, tensor: ServedTensor, values: list[Any], field: str) -> Array:
        """Return the values of all rows as one array, or the single value of an input that has one per request.

        Raises:
            RequestError: 400; the rows have different values for such an input.
        """
        if tensor.name not in self.whole or not values:
            return as_array(values, field, tensor.dtype)
        if other := next((number for number, value in enumerate(values) if value != values[0]), 0):
            message = f"input {tensor.name!r} is one value for the whole request"
            message += f", and row {other} has another than row 0"
            raise bad_input("bad_value", message, f"{FREE}[{other}]" + (f".{field}" if field != FREE else ""))
        array = as_array(values[:1], field, tensor.dtype)
        return array.reshape(array.shape[1:])

    def _from_table(self, rows: list[Any], columns: list[str]) -> Tensors:
        rows = table_rows(rows, columns)
        if not self.per_column:
            array = as_array(rows, FREE, self.inputs[0].dtype)
            return {self.inputs[0].name: self._fit(self.inputs[0], array, FREE)}
        cells = zip(*rows, strict=True)
        return {
            one.name: self._fit(one, as_array(list(column), one.name, one.dtype), one.name)
            for one, column in zip(self.inputs, cells, strict=True)
        }

    def _from_dicts(self, rows: list[Any], names: list[str]) -> Tensors:
        cells = zip(*(_ordered(row, names, number) for number, row in enumerate(rows)), strict=True)
        return {
            one.name: self._fit(one, self._gathered(one, list(values), one.name), one.name)
            for one, values in zip(self.inputs, cells, strict=True)
        }

    def _split_columns(self, array: Array, field: str) -> Tensors:
        columns = self.columns or []
        if array.ndim != 2 or array.shape[1] != len(columns):
            raise bad_input(
                "bad_shape", f"{field} must have shape [rows, {len(columns)}], got {list(array.shape)}", field
            )
        return {name: array[:, number] for number, name in enumerate(columns)}

    def _fit(self, tensor: ServedTensor, array: Array, field: str) -> Array:
        array = _to_shape(tensor.read(array, field, self.columns), tensor, field)
        if tensor.required or not self.allow_nan:
            check_finite(array, field, self.columns, category=tensor.levels is not None)
        return array


def table_rows(rows: list[Any], columns: list[str]) -> list[list[Any]]:
    """Return the rows of a table, given as lists or objects, as lists in the order of the columns.

    Raises:
        RequestError: 400 naming the row that lacks a column or has another length.
    """
    if isinstance(rows[0], dict):
        return [_ordered(row, columns, number) for number, row in enumerate(rows)]
    for number, row in enumerate(rows):
        if not is_list(row) or len(row) != len(columns):
            message = f"row {number} must have the {len(columns)} columns {_list(columns)}"
            raise bad_input("bad_shape", message, f"{FREE}[{number}]")
    return rows


def _to_shape(array: Array, tensor: ServedTensor, field: str) -> Array:
    wanted = tensor.shape
    if array.ndim == 2 and len(wanted) == 1 and array.shape[1] == 1:
        array = array[:, 0]  # most clients send a column vector
    if not wanted and array.shape == (1,):
        array = array.reshape(())  # an array of one value, from a format without zero-dimensional arrays
    if 0 in array.shape:
        raise bad_input("empty", f"{field} has shape {list(array.shape)} and so holds no value", field)
    if array.ndim != len(wanted) or any(w not in {-1, a} for w, a in zip(wanted, array.shape, strict=True)):
        shape = [
            "rows" if not axis and size == -1 else "any" if size == -1 else size for axis, size in enumerate(wanted)
        ]
        expected = ", ".join(map(str, shape))
        fix = "; send a single row as a list with one row in it" if array.ndim == len(wanted) - 1 else ""
        raise bad_input("bad_shape", f"{field} must have shape [{expected}], got {list(array.shape)}{fix}", field)
    return np.ascontiguousarray(array) if array.ndim else array


def _ordered(row: Any, names: list[str], number: int) -> list[Any]:
    if not isinstance(row, dict):
        raise bad_input(
            "bad_type", f"row {number} must be an object with the keys {_list(names)}", f"instances[{number}]"
        )
    cells = cast("dict[str, Any]", row)
    try:
        values = [cells[name] for name in names]
    except KeyError as error:
        missing = str(error.args[0])
        other = next((f", but has {name!r}, which the model does not know" for name in cells if name not in names), "")
        message = f"row {number} lacks {missing!r}{other}"
        raise bad_input("missing_column", message, f"instances[{number}].{missing}") from None
    if len(cells) != len(names):
        _check_names(cells, names, f"{FREE}[{number}]")
    return values


def _check_names(given: dict[str, Any], expected: list[str], where: str) -> None:
    for name in expected:
        if name not in given:
            raise bad_input(
                "missing_input", f"input {name!r} is missing; expected {_list(expected)}", f"{where}.{name}"
            )
    for name in given:
        if name not in expected:
            raise bad_input(
                "unknown_input", f"input {name!r} is unknown; expected {_list(expected)}", f"{where}.{name}"
            )


def _list(names: list[str]) -> str:
    return ", ".join(names[:10]) + (f", … ({len(names)} in all)" if len(names) > 10 else "")
