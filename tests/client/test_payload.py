"""From lists, arrays and tables to request bodies."""

from __future__ import annotations

import datetime as dt
import decimal
import io
import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sdk.dataplane.payload import NPY, EncodingRules, bodies
from sdk.errors import InvalidInputError

RULES = EncodingRules(limit=100_000)
KNOWN = EncodingRules(limit=100_000, missing=True)


def sent(inputs: Any, rules: EncodingRules = RULES) -> Any:
    (body,) = bodies(inputs, rules)
    return json.loads(body.content)["instances"]


class Polarslike:
    columns = ("a",)

    def to_dicts(self) -> list[dict[str, int]]:
        return [{"a": 1}]


@pytest.mark.parametrize(
    ("inputs", "rows"),
    [
        ([[1, 2]], [[1, 2]]),
        (([1], (2,)), [[1], [2]]),
        ({"age": 3}, [{"age": 3}]),
        (np.array([[1.5, 2.0]], dtype=np.float32), [[1.5, 2.0]]),
        (np.array([1, 2]), [1, 2]),
        ([np.array([1, 2]), np.array([3, 4])], [[1, 2], [3, 4]]),
        ([[np.float64(1.5), np.int32(2), np.bool_(True)]], [[1.5, 2, True]]),
        ([{"a": np.float32(0.5)}], [{"a": 0.5}]),
        (pd.DataFrame({"a": [1, 2], "b": ["x", None]}), [{"a": 1, "b": "x"}, {"a": 2, "b": None}]),
        (pd.DataFrame({3: pd.Categorical(["u"])}), [{"3": "u"}]),
        (pd.DataFrame({"t": pd.to_datetime(["2026-01-02"])}), [{"t": "2026-01-02T00:00:00"}]),
        (pd.Series([1.5, 2.5]), [1.5, 2.5]),
        ((row for row in ([1], [2])), [[1], [2]]),
        ([decimal.Decimal("1.5")], [1.5]),
        (Polarslike(), [{"a": 1}]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_rows_of_everything(inputs: Any, rows: Any) -> None:
    """Whatever holds rows is sent as the same JSON rows."""
    assert rows == sent(inputs)


def test_missing_cells_of_a_table_are_null() -> None:
    """A missing cell is null, whatever the type of its column."""
    table = pd.DataFrame({"a": [1.0, math.nan], "b": pd.array([1, None], dtype="Int64")})
    assert [{"a": 1.0, "b": 1}, {"a": None, "b": None}] == sent(table)


@pytest.mark.parametrize("inputs", [None, "text", b"bytes", 1, 1.5, np.array(3.0), object()])
def test_what_has_no_rows_is_refused(inputs: Any) -> None:
    """The message names the type and says what to send."""
    with pytest.raises(InvalidInputError, match="has no rows") as caught:
        bodies(inputs, RULES)
    assert "instances" == caught.value.field


@pytest.mark.parametrize("inputs", [[], (), np.empty((0, 3)), pd.DataFrame({"a": []})])
def test_no_rows_are_refused(inputs: Any) -> None:
    """Nothing is sent for nothing."""
    with pytest.raises(InvalidInputError, match="the input has no rows"):
        bodies(inputs, RULES)


def test_nan_in_a_list_is_named() -> None:
    """JSON has no NaN, and changing it silently to null would be wrong for a model without signature."""
    with pytest.raises(InvalidInputError, match="NaN, which JSON cannot say") as caught:
        bodies([[1.0, 2.0], [math.nan, None]], RULES)
    assert "instances[1][0]" == caught.value.field


def test_nan_is_null_where_the_server_knows_the_types() -> None:
    """With a signature, null means a missing number, which the model takes or refuses by its own rule."""
    assert [[1.0, None]] == sent([[1.0, math.nan]], KNOWN)


@pytest.mark.parametrize("rules", [RULES, KNOWN])
def test_infinity_is_never_changed(rules: EncodingRules) -> None:
    """Infinity in JSON is an error, with or without a signature."""
    with pytest.raises(InvalidInputError, match="infinite") as caught:
        bodies([{"a": -math.inf}], rules)
    assert "instances[0].a" == caught.value.field


def test_array_that_json_cannot_say_goes_as_npy() -> None:
    """NaN and infinity of a numpy array arrive bit for bit."""
    array = np.array([[1.0, np.nan], [np.inf, -0.0]])
    (body,) = bodies(array, RULES)
    assert NPY == body.content_type
    assert np.array_equal(array, np.load(io.BytesIO(body.content)), equal_nan=True)


@pytest.mark.parametrize("others", [[1.0, 2.0], [np.inf, 2.0]])
def test_masked_numbers_are_missing_ones(others: list[float]) -> None:
    """The mask is not lost, whatever stands beside it."""
    masked = np.ma.masked_array([others, [7.0, 8.0]], mask=[[False, False], [True, False]])
    (body,) = bodies(masked, RULES)
    assert np.array_equal([others, [np.nan, 8.0]], np.load(io.BytesIO(body.content)), equal_nan=True)


def test_npy_is_cut_like_json() -> None:
    """Parts of an array are arrays of whole rows that fit."""
    array = np.full((100, 4), np.nan)
    parts = bodies(array, EncodingRules(limit=1000, rowwise=True))
    assert all(len(part.content) <= 1000 for part in parts)
    assert 100 == sum(len(np.load(io.BytesIO(part.content))) for part in parts)


def test_envelope_leaves_no_room_for_npy() -> None:
    """Where a platform wraps JSON, infinity stays an error."""
    with pytest.raises(InvalidInputError):
        bodies(np.array([[np.inf]]), EncodingRules(limit=1000, wrap=lambda body: body))


def test_value_without_json_form_is_named() -> None:
    """The first row that cannot be written is named."""
    with pytest.raises(InvalidInputError, match="a object cannot be sent") as caught:
        bodies([[1], [object()]], RULES)
    assert "instances[1]" == caught.value.field


def test_endless_nesting_is_refused() -> None:
    """A list that holds itself is an input error."""
    rows: list[Any] = []
    rows.append(rows)
    with pytest.raises(InvalidInputError):
        bodies(rows, RULES)


def test_tables_of_arrow_are_rows() -> None:
    """Moments and missing values as in tables of other libraries."""

    class Table:
        column_names = ("a", "at")

        def to_pylist(self) -> list[dict[str, Any]]:
            return [{"a": 1, "at": dt.datetime(2024, 1, 31, 12, tzinfo=dt.UTC)}, {"a": None, "at": None}]

    (body,) = bodies(Table(), RULES)
    rows = json.loads(body.content)["instances"]
    assert [{"a": 1, "at": "2024-01-31T12:00:00Z"}, {"a": None, "at": None}] == rows
