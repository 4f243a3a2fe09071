"""What the cells of a typed column may be in a request: the value that the model gets, or a 400 that names the cell."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest

from sdk.serving import fields, times
from sdk.serving.codecs import decode_instances
from sdk.serving.failures import RequestError
from sdk.serving.settings import ServerLimits
from sdk.serving.signature import ServedSignature
from sdk.serving.tables import table

COLUMNS: dict[str, dict[str, Any]] = {
    "naive": {"dtype": "datetime64[ms]"},
    "zoned": {"dtype": "datetime64[us]", "column_type": "datetime64[us, Europe/Oslo]"},
    "duration": {"dtype": "timedelta64[ns]"},
    "seconds": {"dtype": "timedelta64[s]"},
    "date": {"dtype": "date", "column_type": "object", "missing": "None"},
    "decimal": {"dtype": "decimal", "column_type": "object", "missing": "None"},
    "fixed": {"dtype": "decimal", "column_type": "decimal128(6, 2)[pyarrow]"},
    "text": {"dtype": "string", "column_type": "category", "levels": {"values": ["b", "a", "c"], "type": "object"}},
    "whole": {"dtype": "int64", "column_type": "category", "levels": {"values": [3, 1], "type": "int64"}},
    "truth": {"dtype": "bool", "column_type": "category", "levels": {"values": [True], "type": "bool"}},
    "many": {"dtype": "int16", "column_type": "category", "levels": {"values": [*range(9)], "type": "int16"}},
    "days": {
        "dtype": "datetime64[s]",
        "column_type": "category",
        "levels": {"values": ["2024-01-31T00:00:00", "2024-02-29T00:00:00"], "type": "datetime64[s]"},
    },
}


def signature(name: str, *, allow_nan: bool = True) -> ServedSignature:
    inputs = [{"name": name, "shape": [-1], **COLUMNS[name]}, {"name": "x", "dtype": "float64", "shape": [-1]}]
    return msgspec.convert({"inputs": inputs, "columns": [name, "x"], "allow_nan": allow_nan}, ServedSignature)


def seen(name: str, cell: str, *, allow_nan: bool = True) -> Any:
    """What the model gets for one cell, given as JSON."""
    known = signature(name, allow_nan=allow_nan)
    given = decode_instances(f'{{"instances": [[{cell}, 1.5]]}}'.encode(), known, ServerLimits())
    return table(given.tensors, known.inputs)[name][0]


@pytest.mark.parametrize(
    ("name", "cell", "value"),
    [
        ("naive", '"2024-02-29"', pd.Timestamp("2024-02-29")),
        ("naive", '"2024-02-29T23:59"', pd.Timestamp("2024-02-29T23:59")),
        ("naive", '"2024-02-29 23:59:59.123"', pd.Timestamp("2024-02-29T23:59:59.123")),
        ("naive", '"0001-01-01T00:00:00"', pd.Timestamp("0001-01-01").as_unit("ms")),
        ("zoned", '"2024-07-01T12:00:00Z"', pd.Timestamp("2024-07-01T14:00", tz="Europe/Oslo")),
        ("zoned", '"2024-07-01T12:00:00.000001-03:30"', pd.Timestamp("2024-07-01T15:30:00.000001Z")),
        ("zoned", '"2024-07-01T12:00+0200"', pd.Timestamp("2024-07-01T12:00", tz="Europe/Oslo")),
        ("duration", '"P1DT2H3M4.000000005S"', pd.Timedelta("1D 02:03:04.000000005")),
        ("duration", '"-PT0.5S"', pd.Timedelta("-0.5s")),
        ("duration", '"P-1DT23H0M0S"', pd.Timedelta("-1h")),
        ("duration", '"P2W"', pd.Timedelta("14D")),
        ("date", '"2024-02-29"', dt.date(2024, 2, 29)),
        ("decimal", "1.50", Decimal("1.50")),
        ("decimal", '"0.10000000000000000000000001"', Decimal("0.10000000000000000000000001")),
        ("decimal", "0.10000000000000000000000001", Decimal("0.10000000000000000000000001")),
        ("decimal", "12345678901234567890", Decimal(12345678901234567890)),
        ("text", '"a"', "a"),
        ("whole", "3", 3),
        ("whole", "3.0", 3),
        ("truth", "true", True),
        ("days", '"2024-02-29"', pd.Timestamp("2024-02-29")),
    ],
)
def test_values(name: str, cell: str, value: Any) -> None:
    """Each form of a value is the value that the training table had."""
    assert value == seen(name, cell)


@pytest.mark.parametrize("name", [name for name in COLUMNS if name != "fixed"])
def test_missing_values(name: str) -> None:
    """Null is the missing value of the type where the model takes missing values, else a 400 that names the cell."""
    assert pd.isna(seen(name, "null"))
    with pytest.raises(RequestError) as caught:
        seen(name, "null", allow_nan=False)
    assert ("not_finite", f"instances[0].{name}") == (caught.value.code, caught.value.field)


@pytest.mark.parametrize(
    ("name", "cell", "words"),
    [
        ("naive", "1709164800", "must be datetime64.ms., written as text such as 2024-01-31T12:00:00, got int"),
        ("naive", '"2024-02-30"', "must be a moment such as"),
        ("naive", '"2024-02-29T24:00:00"', "must be a moment such as"),
        ("naive", '"now"', "must be a moment such as"),
        ("naive", '"NaT"', "must be a moment such as"),
        ("naive", '"29.02.2024"', "must be a moment such as"),
        ("naive", '"2024-02-29T12:00:00Z"', "has an offset from UTC, but the column has no time zone"),
        ("naive", '"2024-02-29T12:00:00.0001"', "finer than datetime64.ms."),
        ("zoned", '"2024-02-29T12:00:00"', "needs its offset from UTC"),
        ("duration", "3600", "written as text such as P1DT12H30M, got int"),
        ("duration", '"P"', "must be an ISO 8601 duration"),
        ("duration", '"1 day"', "must be an ISO 8601 duration"),
        ("duration", '"P999999999999D"', "does not fit timedelta64.ns."),
        ("seconds", '"PT0.5S"', "finer than timedelta64.s."),
        ("date", '"2024-02-29T00:00:00"', "must be a date such as 2024-01-31"),
        ("date", "20240229", "written as text such as 2024-01-31, got int"),
        ("decimal", '"NaN"', "must be a decimal number"),
        ("decimal", '"1e99999"', "must be a decimal number"),
        ("decimal", "true", "must be a decimal number such as 12.50, got bool"),
        ("fixed", '"1.234"', "does not fit decimal128"),
        ("fixed", "12345.6", "does not fit decimal128"),
        ("text", '"A"', "is 'A', which the model does not know; it knows 'b', 'a', 'c'"),
        ("text", "1", "must be text, got int"),
        ("whole", "2", "is 2, which the model does not know; it knows 3, 1"),
        ("whole", '"3"', "must be int64, got"),
        ("whole", "1.5", "does not fit int64"),
        ("truth", "false", "is False, which the model does not know; it knows True"),
        ("truth", "1", "must be bool"),
        ("many", "9", r"it knows 0, 1, 2, 3, 4, … \(9 in all\)"),
        ("days", '"2024-03-01"', "is '2024-03-01', which the model does not know"),
    ],
)
def test_values_that_do_not_fit(name: str, cell: str, words: str) -> None:
    """The error names row and column, the value, and what is wanted."""
    with pytest.raises(RequestError, match=words) as caught:
        seen(name, cell)
    assert 400 == caught.value.status
    assert name in str(caught.value.field)


def test_the_first_unknown_category_is_named() -> None:
    """In a request of many rows the error names the row."""
    known = signature("text")
    rows = [["a", 1], [None, 1], ["z", 1], ["y", 1]]
    with pytest.raises(RequestError, match="row 2, column 'text' is 'z'") as caught:
        decode_instances(msgspec.json.encode({"instances": rows}), known, ServerLimits())
    assert ("unknown_category", "instances[2].text") == (caught.value.code, caught.value.field)


def test_the_model_gets_the_categories_of_the_training_table() -> None:
    """Levels and order are those of the signature, whatever is in the request."""
    known = signature("text")
    given = decode_instances(b'{"instances": [["c", 1]]}', known, ServerLimits())
    column = table(given.tensors, known.inputs)["text"]
    assert pd.CategoricalDtype(pd.Index(["b", "a", "c"], dtype=object)) == column.dtype
    assert [2] == column.cat.codes.tolist()


@pytest.mark.parametrize("nanoseconds", [0, 1, -1, 86_400 * 10**9, -90_061_000_000_001, 2**62, -(2**62)])
def test_durations_are_read_as_they_are_written(nanoseconds: int) -> None:
    """Also as pandas writes them."""
    assert nanoseconds == times.duration(times.nanoseconds_text(nanoseconds))
    assert nanoseconds == times.duration(times.duration_text(pd.Timedelta(nanoseconds)))
    assert nanoseconds == times.duration(pd.Timedelta(nanoseconds).isoformat())


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ({"column_type": "geometry"}, "is not a type of column"),
        ({"column_type": "category"}, "is not a column of categories with its levels"),
        ({"column_type": "datetime64[us, " + "x" * 99 + "]"}, "is not a type of column"),
        ({"missing": "nothing"}, "is not what stands for a missing value"),
        ({"levels": {"values": ["a"], "type": "str"}}, "is not a column of categories with its levels"),
        ({"column_type": "category", "levels": {"values": [], "type": "str"}}, "different levels of one type"),
        ({"column_type": "category", "levels": {"values": ["a", "a"], "type": "str"}}, "different levels of one type"),
        ({"column_type": "category", "levels": {"values": ["a", 1], "type": "str"}}, "different levels of one type"),
        ({"column_type": "category", "levels": {"values": ["a"], "type": "category"}}, "is not a type of levels"),
        ({"column_type": "category", "levels": {"values": ["a" * 1001], "type": "str"}}, "at most 1,000 characters"),
    ],
)
def test_columns_of_a_strange_manifest(column: dict[str, Any], words: str) -> None:
    """A bundle may come from a stranger: what is no column of ours is refused before it is used."""
    inputs = [{"name": "c", "dtype": "string", "shape": [-1], **column}]
    strange = msgspec.convert({"inputs": inputs, "columns": ["c"]}, ServedSignature)
    (fault,) = [words_of for _, _, words_of in fields._signature_faults(strange)][:1]
    assert words.removeprefix("is not ") in f"{fault}"


@pytest.mark.parametrize("names", [["1", "x"], ["01"], ["1.5"], ["9" * 20]])
def test_strange_whole_numbers_for_names(names: list[str]) -> None:
    """Whole numbers for names are whole numbers in all columns of a manifest, written in one way."""
    inputs = [{"name": name, "dtype": "float64", "shape": [-1]} for name in names]
    strange = msgspec.convert({"inputs": inputs, "columns": names, "integer_columns": True}, ServedSignature)
    assert ["a whole number, as the names of all columns"] == [
        words for _, _, words in fields._signature_faults(strange)
    ]


def test_more_levels_than_a_manifest_may_have() -> None:
    """Together the columns may have so many levels, and no more."""
    levels = {"values": [*range(fields.MOST_LEVELS // 2 + 1)], "type": "int64"}
    inputs = [
        {"name": name, "dtype": "int64", "shape": [-1], "column_type": "category", "levels": levels} for name in "ab"
    ]
    one = msgspec.convert({"inputs": inputs[:1], "columns": ["a"]}, ServedSignature)
    two = msgspec.convert({"inputs": inputs, "columns": ["a", "b"]}, ServedSignature)
    assert not list(fields._signature_faults(one))
    assert ["a number of levels up to 100,000"] == [words for _, _, words in fields._signature_faults(two)]


def test_many_levels_are_not_all_shown() -> None:
    """The page of the server has the first hundred, and how many there are."""
    levels = {"values": [*range(5_000)], "type": "int64"}
    inputs = [{"name": "c", "dtype": "int64", "shape": [-1], "column_type": "category", "levels": levels}]
    known = msgspec.convert({"inputs": inputs, "columns": ["c"]}, ServedSignature)
    (shown,) = known.described()["inputs"]
    assert ([*range(100)], 5_000) == (shown["levels"]["values"], shown["levels"]["count"])
    assert [True] == signature("truth").described()["inputs"][0]["levels"]["values"]


def test_categories_of_floats_find_numbers_in_single_precision() -> None:
    """The levels of a float32 column are found again by the text of their JSON."""
    levels = np.array([0.1, 0.3], dtype="float32")
    listed = {"values": [float(one) for one in levels], "type": "float32"}
    inputs = [{"name": "f", "dtype": "float32", "shape": [-1], "column_type": "category", "levels": listed}]
    known = msgspec.convert({"inputs": inputs, "columns": ["f"]}, ServedSignature)
    given = decode_instances(b'{"instances": [[0.1], [0.30000001192092896]]}', known, ServerLimits())
    assert [0, 1] == given.tensors["f"].tolist()
