"""A row's answer depends on nothing but the row: whatever else is in the request, and in every form of it."""

from __future__ import annotations

import csv
import importlib
import importlib.util
import io
import struct
import time
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from sdk.packaging import examples
from sdk.serving import codecs, npy, v2
from sdk.serving.batches import Batches
from sdk.serving.convert import DATATYPES, DTYPES
from sdk.serving.failures import RequestError
from sdk.serving.flavours import Predictor
from sdk.serving.media import CSV
from sdk.serving.settings import ServerLimits
from sdk.serving.signature import ServedSignature, ServedTensor
from sdk.util import cells

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sdk.serving.codecs import Input

LIMITS = ServerLimits()
EXACT = msgspec.json.Decoder(float_hook=Decimal)
TEXT = some.sampled_from(["x", "y", "ü", "", "long text"])
NUMBER = some.floats(-60_000, 60_000, width=16)

MOMENT = some.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1))  # noqa: DTZ001 - without a zone
DAYS = pd.DatetimeIndex(["2024-03-01", "2024-01-31", "1969-12-31"])


def tokyo_days() -> Any:
    return some.sampled_from(list(DAYS)).map(lambda one: one.tz_localize("Asia/Tokyo"))


def oslo(one: datetime) -> Any:
    return pd.Timestamp(one, tz="UTC").tz_convert("Europe/Oslo")


def seconds(number: int) -> timedelta:
    return timedelta(seconds=number)


def newfoundland(milliseconds: int) -> Any:
    return pd.Timestamp(milliseconds, unit="ms", tz="UTC").tz_convert("UTC-03:30")


CENTS = some.decimals("-9999", "9999", places=2)

# A column's type in the training table, its values, and what stands for a missing one.
COLUMNS: dict[str, tuple[Any, Any, Any]] = {
    "str": (str(pd.Series(["x"]).dtype), TEXT, np.nan),
    "object, NaN": ("object", TEXT, np.nan),
    "object, None": ("object", TEXT, None),
    "string": ("string", TEXT, pd.NA),
    "float64": ("float64", NUMBER, np.nan),
    "float32": ("float32", NUMBER, np.nan),
    "Float64": ("Float64", NUMBER, pd.NA),
    "int64": ("int64", some.integers(-(2**63), 2**63 - 1), ...),
    "uint8": ("uint8", some.integers(0, 255), ...),
    "Int64": ("Int64", some.integers(-(2**63), 2**63 - 1), pd.NA),
    "UInt8": ("UInt8", some.integers(0, 255), pd.NA),
    "bool": ("bool", some.booleans(), ...),
    "boolean": ("boolean", some.booleans(), pd.NA),
    "float16": ("float16", NUMBER, np.nan),
    "bools, None": ("object", some.booleans(), None),
    "integers, NaN": ("object", some.integers(-(2**63), 2**63 - 1), np.nan),
    "decimals, None": ("object", CENTS, None),
    "dates, NaT": ("object", some.dates(), pd.NaT),
    "dates, NA": ("object", some.dates(), pd.NA),
    "category": (pd.CategoricalDtype(["y", "x", "", "ü", "long text"]), TEXT, np.nan),
    "ordered": (pd.CategoricalDtype(["y", "x", "", "ü", "long text"], ordered=True), TEXT, np.nan),
    "objects": (pd.CategoricalDtype(pd.Index(["y", "x", "", "ü", "long text"], dtype=object)), TEXT, np.nan),
    "integers": (pd.CategoricalDtype([7, 3, -(2**62)]), some.sampled_from([7, 3, -(2**62)]), np.nan),
    "numbers": (pd.CategoricalDtype([0.5, -1.0, 2.0]), some.sampled_from([0.5, -1.0, 2.0]), np.nan),
    "booleans": (pd.CategoricalDtype([True, False]), some.booleans(), np.nan),
    "days": (pd.CategoricalDtype(DAYS), some.sampled_from(list(DAYS)), np.nan),
    "zoned days": (
        pd.CategoricalDtype(DAYS.tz_localize("Asia/Tokyo")),
        tokyo_days(),
        np.nan,
    ),
    "seconds": ("datetime64[s]", MOMENT.map(lambda one: one.replace(microsecond=0)), pd.NaT),
    "microseconds": ("datetime64[us]", MOMENT, pd.NaT),
    "nanoseconds": ("datetime64[ns]", some.integers(-(2**62), 2**62).map(pd.Timestamp), pd.NaT),
    "zone": ("datetime64[us, Europe/Oslo]", MOMENT.map(oslo), pd.NaT),
    "UTC": ("datetime64[ns, UTC]", some.integers(-(2**62), 2**62).map(lambda one: pd.Timestamp(one, tz="UTC")), pd.NaT),
    "offset": ("datetime64[ms, UTC-03:30]", some.integers(0, 2**40).map(newfoundland), pd.NaT),
    "timedelta": ("timedelta64[ns]", some.integers(-(2**62), 2**62).map(pd.Timedelta), pd.NaT),
    "long timedelta": (
        "timedelta64[s]",
        some.integers(-(2**33), 2**33).map(seconds),
        pd.NaT,
    ),
}


def _arrow_columns() -> dict[str, tuple[Any, Any, Any]]:
    """The types of Arrow, where it is installed."""
    if importlib.util.find_spec("pyarrow") is None:
        return {}
    pyarrow: Any = importlib.import_module("pyarrow")
    kinds = {
        "string": (pyarrow.string(), TEXT), "large string": (pyarrow.large_string(), TEXT),
        "bool": (pyarrow.bool_(), some.booleans()), "int64": (pyarrow.int64(), some.integers(-(2**63), 2**63 - 1)),
        "uint8": (pyarrow.uint8(), some.integers(0, 255)), "double": (pyarrow.float64(), NUMBER),
        "float": (pyarrow.float32(), NUMBER), "date": (pyarrow.date32(), some.dates()),
        "decimal": (pyarrow.decimal128(10, 2), CENTS), "moment": (pyarrow.timestamp("us"), MOMENT),
        "zoned moment": (pyarrow.timestamp("us", "Europe/Oslo"), MOMENT.map(oslo)),
        "duration": (pyarrow.duration("ms"), some.integers(-(2**33), 2**33).map(seconds)),
    }  # fmt: skip
    return {f"arrow {name}": (pd.ArrowDtype(kind), values, pd.NA) for name, (kind, values) in kinds.items()}


COLUMNS |= _arrow_columns()


def seen(frame: Any) -> list[str]:
    """What a model can tell of each row: the type of each column and what is in it."""
    cells = [[f"{frame[name].dtype} {type(one).__name__} {one!r}" for one in frame[name]] for name in frame]
    return ["; ".join(row) for row in zip(*cells, strict=True)]


@some.composite
def tables(draw: Any) -> pd.DataFrame:
    """A training table: its first row is complete, so that the type of each column can be seen."""
    rows = draw(some.integers(2, 5))
    made: dict[str, Any] = {}
    for kind in draw(some.lists(some.sampled_from(sorted(COLUMNS)), min_size=1, max_size=4, unique=True)):
        dtype, values, missing = COLUMNS[kind]
        cell = values if missing is ... else some.one_of(some.just(missing), values)
        cells = [draw(values), *(draw(cell) for _ in range(rows - 1))]
        made[kind] = pd.Series(cells, dtype=dtype) if dtype != "object" else pd.Series(cells, dtype=object)
        if "," in kind and not pd.isna(made[kind]).any():
            made[kind].iloc[-1] = missing  # which of the two it is can only be seen in the table
    return pd.DataFrame(made)


def predictor(
    call: Callable[[Any], Any], example: Any, *, allow_nan: bool = True
) -> tuple[Predictor, ServedSignature, Any]:
    """What the server makes of a model packed with this example."""
    prepared = examples.prepare(example)
    columns = examples.columns(prepared)
    facts = {"inputs": examples.inputs(prepared), "columns": columns, "allow_nan": allow_nan}
    signature = msgspec.convert(msgspec.to_builtins(facts), ServedSignature)
    return Predictor(call, signature, "predict", takes_json=False), signature, prepared


def requests(rows: list[Any], columns: list[str], signature: ServedSignature) -> Iterator[tuple[str, Input]]:
    """The same rows in every form that can carry them."""
    for form, instances in (("objects", rows), ("lists", [[row[name] for name in columns] for row in rows])):
        yield form, codecs.decode_instances(cells.encode({"instances": instances}), signature, LIMITS)
    tensors: list[dict[str, Any]] = []
    for one in signature.inputs:
        data = [
            row[one.name] if one.dtype in DATATYPES or row[one.name] is None else str(row[one.name]) for row in rows
        ]
        tensors.append(
            {"name": one.name, "shape": [len(rows)], "datatype": DATATYPES.get(one.dtype, "BYTES"), "data": data}
        )
    yield "V2", v2.decode(cells.encode({"inputs": tensors}), None, signature, LIMITS)[1]
    if not any("" in row.values() for row in rows):  # an empty field is a missing value
        yield "CSV", codecs.decode(CSV, b"text/csv; header=present", as_csv(rows, columns), signature, LIMITS)
    if all(None not in one["data"] for one in tensors):
        yield "V2 binary", binary(tensors, signature)
    if {one.dtype for one in signature.inputs} in ({"float64"}, {"float32"}):
        array = np.array([[np.nan if row[name] is None else float(row[name]) for name in columns] for row in rows])
        yield "npy", codecs.decode_npy(npy.encode(array), signature)


def as_csv(rows: list[Any], columns: list[str]) -> bytes:
    """The rows with a header; what is no text is written as in JSON."""
    file = io.StringIO()
    lines = [[cell if isinstance(cell, str) else cells.encode(cell).decode() for cell in row.values()] for row in rows]
    csv.writer(file).writerows([columns, *([*("" if cell == "null" else cell for cell in line)] for line in lines)])
    return file.getvalue().encode()


def binary(tensors: list[dict[str, Any]], signature: ServedSignature) -> Input:
    """Tensors as bytes behind their JSON."""
    tail = b""
    for tensor in tensors:
        data = tensor.pop("data")
        if tensor["datatype"] == "BYTES":
            part = b"".join(struct.pack("<I", len(text.encode())) + text.encode() for text in data)
        else:
            part = np.array(data, dtype=DTYPES[tensor["datatype"]]).tobytes()
        tensor["parameters"] = {"binary_data_size": len(part)}
        tail += part
    head = msgspec.json.encode({"inputs": tensors})
    return v2.decode(head + tail, str(len(head)).encode(), signature, LIMITS)[1]


def answers(model: Predictor, request: Input) -> list[Any]:
    outputs = model(request)
    return next(iter(outputs.arrays.values())).tolist() if outputs.arrays else list(outputs.free)


@settings(max_examples=40, deadline=None)
@given(tables())
def test_a_row_is_seen_as_in_the_training_table(table: pd.DataFrame) -> None:
    """All rows at once, each row alone, and the training table itself look the same to the model, in every form."""
    model, signature, prepared = predictor(seen, table)
    expected, columns = seen(table), list(table.columns)
    assert expected == seen(prepared)
    rows = EXACT.decode(examples.encode(prepared))["instances"]
    for form, request in requests(rows, columns, signature):
        assert (form, expected) == (form, answers(model, request))
    for number, row in enumerate(rows):
        for form, request in requests([row], columns, signature):
            assert (form, expected[number : number + 1]) == (form, answers(model, request))


@settings(max_examples=40, deadline=None)
@given(tables())
def test_a_row_is_seen_the_same_in_a_call_that_several_requests_share(table: pd.DataFrame) -> None:
    """Requests that can be joined are answered as alone, in every form; others are not joined."""
    model, signature, prepared = predictor(seen, table)
    signature = msgspec.structs.replace(signature, rowwise=True, outputs=[ServedTensor("predict", "string", (-1,))])
    batches = Batches(signature, most=100, p95_ms=0, clock=time.monotonic)
    rows, columns = EXACT.decode(examples.encode(prepared))["instances"], list(table.columns)
    alone = [list(requests([row], columns, signature)) for row in rows] + [list(requests(rows, columns, signature))]
    groups: dict[Any, list[Input]] = {}
    for form, request in (pair for pairs in alone for pair in pairs):
        groups.setdefault((form, batches.key(request)), []).append(request)
    for (form, key), some_requests in groups.items():
        assert key is not None
        joined = model(batches.join(some_requests))
        cut = batches.cut(joined, [request.rows for request in some_requests])
        assert cut is not None
        expected = [answers(model, request) for request in some_requests]
        assert (form, expected) == (form, [one.arrays["predict"].tolist() for one in cut])


PEOPLE = pd.DataFrame({"town": ["Oslo", "Rome", "Oslo", "Rome", None] * 4, "age": [20.0, 60.0, 25.0, 65.0, 30.0] * 4})


@pytest.mark.parametrize("kind", ["str", "object", "string", "category"])
@pytest.mark.parametrize("marker", [np.nan, None])
def test_an_imputer_of_text_sees_missing_ones(kind: str, marker: Any) -> None:
    """A missing text is imputed alone as beside others, as in this process."""
    table = PEOPLE.assign(town=[marker if pd.isna(one) else one for one in PEOPLE["town"]])
    table["town"] = table["town"].astype(object) if kind == "object" else table["town"].astype(kind)
    imputer = SimpleImputer(strategy="most_frequent", missing_values=pd.NA if kind == "string" else np.nan)
    is_category = (kind, marker) == ("object", None)  # scikit-learn takes None for a value like any other
    towns = OneHotEncoder() if is_category else make_pipeline(imputer, OneHotEncoder())
    columns = make_column_transformer((towns, ["town"]), remainder="passthrough")
    fitted = make_pipeline(columns, LogisticRegression()).fit(table, [0, 1, 0, 1, 1] * 4)
    model, signature, prepared = predictor(fitted.predict_proba, table)
    rows = msgspec.json.decode(examples.encode(prepared))["instances"]
    expected = fitted.predict_proba(table).tolist()
    for number in (0, 4):
        for form, request in requests([rows[number]], ["town", "age"], signature):
            assert (form, [pytest.approx(expected[number])]) == (form, answers(model, request))


@settings(max_examples=25, deadline=None)
@given(
    some.sampled_from(["bool", "int8", "int64", "uint64", "float32", "float64", "string"]),
    some.lists(
        some.one_of(
            some.none(), some.booleans(), some.text(max_size=3), some.floats(allow_nan=False, allow_infinity=False),
            some.integers(-(2**65), 2**65), some.sampled_from([2**53 + 1, 2.0, 2**63, 2**63 - 1, -1, 0.5]),
        ),
        min_size=1, max_size=4,
    ),
)  # fmt: skip
def test_a_cell_is_taken_or_refused_for_itself(dtype: str, cells: list[Any]) -> None:
    """A request is taken exactly when each of its rows is, and then gives the same values."""
    facts = {"inputs": [{"name": "x", "dtype": dtype, "shape": [-1]}], "allow_nan": True}
    signature = msgspec.convert(facts, ServedSignature)

    def taken(values: list[Any]) -> Any:
        body = msgspec.json.encode({"instances": values})
        try:
            return [repr(one) for one in codecs.decode_instances(body, signature, LIMITS).tensors["x"].tolist()]
        except RequestError:
            return None

    alone = [taken([cell]) for cell in cells]
    together = taken(cells)
    assert (None if None in alone else [one[0] for one in alone]) == together


@settings(max_examples=25, deadline=None)
@given(
    some.lists(
        some.sampled_from([True, 1, 1.5, "a", None, 2**53 + 1, "1", False, 0, [1], {"a": True}]), min_size=1, max_size=4
    )
)
def test_an_answer_is_given_for_itself(values: list[Any]) -> None:
    """What a model answers for one row is not changed by what it answers for the others."""
    signature = ServedSignature(outputs=[])

    def answered(chosen: list[Any]) -> list[Any]:
        model = Predictor(lambda _: chosen, signature, "predict", takes_json=True)
        given_rows = codecs.Input({}, chosen, len(chosen))
        return list(msgspec.json.decode(codecs.encode_predictions(model(given_rows)).body)["predictions"])

    alone = [answered([value])[0] for value in values]
    together = answered(values)
    assert alone == together
    assert [isinstance(one, bool) for one in alone] == [isinstance(one, bool) for one in together]


@pytest.mark.parametrize("numeric", [True, False])
def test_tables_without_recorded_types(numeric: bool) -> None:
    """A column of nothing but null is missing numbers or missing text, never text that says None."""
    model = Predictor(
        lambda frame: [str(one) for one in frame["s"]], ServedSignature(columns=["s", "x"]), "predict",
        takes_json=False, numeric=numeric,
    )  # fmt: skip
    for rows in ([[None, 1]], [[None, 1], ["a", 2]], [[None, 1], [1.5, 2]]):
        body = msgspec.json.encode({"instances": rows})
        assert "nan" == answers(model, codecs.decode_instances(body, model._signature, LIMITS))[0]


def test_earlier_bundles_get_the_text_type_of_pandas() -> None:
    """A bundle that records no column types is served as pandas makes text, with and without a text in it."""
    facts = {"inputs": [{"name": "s", "dtype": "string", "shape": [-1]}], "columns": ["s"], "allow_nan": True}
    signature = msgspec.convert(facts, ServedSignature)
    model = Predictor(lambda frame: [str(frame["s"].dtype)] * len(frame), signature, "predict", takes_json=False)
    wanted = str(importlib.import_module("pandas").Series(["x"]).dtype)
    for rows in ([[None]], [["a"]], [[None], ["a"]]):
        body = msgspec.json.encode({"instances": rows})
        assert {wanted} == set(answers(model, codecs.decode_instances(body, signature, LIMITS)))
