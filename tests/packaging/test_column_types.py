"""What a manifest records of the types and missing values of an example."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from importlib import import_module
from typing import Any, Self

import msgspec
import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.linear_model import LinearRegression

from sdk.dataplane import payload
from sdk.errors import ConfigError
from sdk.packaging import columns, examples
from sdk.packaging.manifest import Tensor
from sdk.packaging.model import model
from sdk.serving import bundle, codecs, flavours
from sdk.serving.settings import ServerLimits


def pack(obj: Any, **wishes: Any) -> Any:
    return model(obj, name="types", **wishes)


def test_types_and_missing_values_of_a_table_are_recorded() -> None:
    """The manifest says how the server has to make each column; a model that answers missing values takes them."""
    pandas: Any = import_module("pandas")
    table = pandas.DataFrame({
        "n": pandas.array([1, None], dtype="Int64"),
        "s": pandas.Series(["a", None], dtype=object),
        "x": [1.0, 2.0],
    })  # fmt: skip
    signature = pack(lambda rows: rows["x"], example=table).signature
    assert signature is not None
    assert signature.allow_nan
    expected = [("int64", "Int64", None), ("string", "object", "None"), ("float64", None, None)]
    assert expected == [(one.dtype, one.column_type, one.missing) for one in signature.inputs]
    with pytest.raises(ConfigError, match="allow_nan=False, but the example has missing values"):
        pack(lambda rows: rows["x"], example=table, allow_nan=False)


@pytest.mark.parametrize(
    ("example", "words"),
    [
        ([["a", 1.0]], "text and float side by side"),
        (np.array([[1.0, np.inf]]), "infinite"),
        (np.array(["a", None, np.nan], dtype=object), "both None and NaN"),
        (np.ones(2, dtype=np.longdouble), "which is what a request carries"),
    ],
)
def test_examples_that_no_request_can_carry_are_refused(example: Any, words: str) -> None:
    """What would reach the model as something else is told when the model is packed."""
    with pytest.raises(ConfigError, match=words):
        examples.inputs(examples.prepare(example))


PANDAS: Any = import_module("pandas")


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (PANDAS.arrays.SparseArray([0.0, 1.0]), r"has type Sparse.*; make it dense: df\['c'\].sparse.to_dense\(\)"),
        (PANDAS.period_range("2024-01", periods=2, freq="M"), r"has type period.*df\['c'\].dt.to_timestamp\(\)"),
        (PANDAS.interval_range(0, 2), "has type interval.*give two columns of numbers"),
        (np.array([1j, 2j]), "has type complex128.*real and its imaginary"),
        (["a", 1], "mixes int and str; give one type for each column"),
        (np.array([1, 2.5], dtype=object), r"mixes float and int; make it floats: df\['c'\].astype\(float\)"),
        ([b"a", b"b"], "has values of the type bytes"),
        ([["a"], ["b"]], "has values of the type list"),
        ([None, None], "has no value at all"),
        (np.array([None, True, np.nan], dtype=object), "has both NaN and None|has both None and NaN"),
        (np.array([2**70, 1], dtype=object), "whole numbers beyond 64 bits"),
        (PANDAS.Series(PANDAS.to_datetime(["2024-01-01"] * 2).to_pydatetime(), dtype=object), "make it moments"),
        (PANDAS.Series(PANDAS.to_timedelta([1, 2]).to_pytimedelta(), dtype=object), "make it durations"),
        (PANDAS.Categorical([None, None]), "is a category without any level"),
        (PANDAS.Categorical(["a" * 1001, "b"]), "has a level of 1,001 characters"),
        (PANDAS.Categorical(["a", 1]), "mixes int and str"),
        (PANDAS.Categorical([np.inf, 1.0]), "has an infinite number"),
    ],
)
def test_columns_that_no_request_can_carry(column: Any, words: str) -> None:
    """The reason is the true one; it names the column, its type and what to do."""
    with pytest.raises(ConfigError, match=r"example\['c'\].*" + words):
        examples.prepare(PANDAS.DataFrame({"c": column}))


def test_a_category_is_packed_with_its_levels() -> None:
    """All levels of the training table are recorded, also those without a row in the example."""
    sizes = PANDAS.Categorical(["M", None], categories=["S", "M", "L"], ordered=True)
    days = PANDAS.Categorical(PANDAS.to_datetime(["2024-01-31", "2024-02-29"]).as_unit("s"))
    table = PANDAS.DataFrame({"size": sizes, "day": days, "n": PANDAS.Categorical([7, 5])})
    signature = pack(lambda rows: rows["n"].cat.codes, example=table).signature
    assert signature is not None
    levels = [one.levels for one in signature.inputs]
    assert [("S", "M", "L"), ("2024-01-31T00:00:00", "2024-02-29T00:00:00"), (5, 7)] == [one.values for one in levels]
    assert [True, False, False] == [one.ordered for one in levels]
    assert ["string", "datetime64[s]", "int64"] == [one.dtype for one in signature.inputs]
    with pytest.raises(ConfigError, match="has 100,001 levels, the most is 100,000; drop those without rows"):
        examples.prepare(PANDAS.DataFrame({"c": PANDAS.Categorical([1], categories=range(100_001))}))


def test_a_table_is_sent_as_it_is_packed() -> None:
    """The request that a client makes of a table has the values of the example that is packed of it."""
    table = PANDAS.DataFrame({
        "c": PANDAS.Categorical(["a", None]),
        "t": PANDAS.to_datetime(["2024-01-31T12:00:00.123456789", None]),
        "z": PANDAS.to_datetime(["2024-01-31T12:00:00", None]).tz_localize("Europe/Oslo"),
        "d": PANDAS.to_timedelta([90, None], unit="s"),
        "day": [date(2024, 1, 31), None],
        "money": [Decimal("1.50"), None],
        "n": PANDAS.array([1, None], dtype="Int64"),
        "b": PANDAS.array([True, None], dtype="boolean"),
    })  # fmt: skip
    (body,) = payload.bodies(table, payload.EncodingRules(limit=10_000, missing=True))
    assert examples.encode(examples.prepare(table)) == body.content
    assert (
        b'{"c":"a","t":"2024-01-31T12:00:00.123456789","z":"2024-01-31T12:00:00+01:00","d":"P0DT90S",'
        b'"day":"2024-01-31","money":1.50,"n":1,"b":true}'
    ) in body.content
    records = table.to_dict("records")
    assert body.content == payload.bodies(records, payload.EncodingRules(limit=10_000, missing=True))[0].content


def served(model: Any, table: Any) -> Any:
    """What the server answers when a client sends this table."""
    predictor, signature = flavours.load(bundle.read(model.path)), bundle.read(model.path).manifest.signature
    (body,) = payload.bodies(table, payload.EncodingRules(limit=10**6, missing=True))
    outputs = predictor(codecs.decode_instances(body.content, signature, ServerLimits()))
    return next(iter(outputs.arrays.values())).tolist() if outputs.arrays else outputs.free


def test_columns_named_by_whole_numbers_come_back_as_such() -> None:
    """A table made of an array has whole numbers for names; the model knows its columns by them."""
    table = PANDAS.DataFrame({7: [1.0, 2.0], np.int64(0): ["a", "b"]})
    model = pack(lambda rows: rows[7] * 2, example=table)
    assert model.signature is not None
    assert (("7", "0"), True) == (model.signature.columns, model.signature.integer_columns)
    assert [2.0, 4.0] == served(model, table)
    named = pack(lambda rows: rows["a"], example=table.set_axis(["a", "b"], axis=1)).signature
    assert b"integer_columns" not in msgspec.json.encode(named)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (
            PANDAS.MultiIndex.from_tuples([("a", "b"), ("a", "c")]),
            r"several levels, such as ..a', 'b'.; fit it on a table",
        ),
        ([1.5, 2.5], "column names of type float, such as 1.5; use text"),
        (["a", 1], "column names of type int and str, such as 1; use text"),
        ([True, False], "column names of type bool"),
        (["a", "a"], "two columns of one name"),
    ],
)
def test_column_names_that_no_request_can_carry(names: Any, words: str) -> None:
    """They are refused with what to do."""
    with pytest.raises(ConfigError, match=words):
        examples.prepare(PANDAS.DataFrame([[1.0, 2.0]]).set_axis(names, axis=1))


class Rewriting(BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """Keeps the names of columns as LightGBM does."""

    def fit(self, table: Any) -> Self:
        self.feature_names_in_ = np.array([name.replace(" ", "_") for name in table.columns], dtype=object)
        return self

    def predict(self, table: Any) -> Any:
        return table["petal length (cm)"].to_numpy()


def test_the_names_of_the_example_win_over_those_that_a_library_made_of_them() -> None:
    """The model gets the table that it was fitted on."""
    table = PANDAS.DataFrame({"petal length (cm)": [1.0, 2.0], "x": [0.0, 0.0]})
    model = pack(Rewriting().fit(table), example=table)
    assert ("petal length (cm)", "x") == model.signature.columns
    assert [1.0, 2.0] == served(model, table)
    with pytest.raises(ConfigError, match=r"example lacks the columns petal_length_\(cm\)"):
        pack(Rewriting().fit(table), example=table[["x"]])


@pytest.mark.parametrize(
    ("shown", "known", "levels"),
    [
        (["b"], ["c", "b", "a"], ["c", "b", "a"]),
        (["a", "b"], ["b", "a"], ["b", "a"]),
        ([1, None], [5, 1], [5, 1]),
        (["a", "z"], ["a", "b"], ["a", "z"]),
    ],
)
def test_rows_written_by_hand_get_the_levels_of_the_model(
    shown: list[Any], known: list[Any], levels: list[Any]
) -> None:
    """What the model was fitted with wins over the few levels of the example, unless the example has others."""
    table = PANDAS.DataFrame({"x": [1.0] * len(shown), "c": PANDAS.Categorical(shown)})
    made = columns.as_fitted(table, [known])
    assert levels == made["c"].cat.categories.tolist()
    assert table["c"].cat.categories.dtype == made["c"].cat.categories.dtype
    assert table["c"].isna().tolist() == made["c"].isna().tolist()
    assert columns.as_fitted(table, [known, known]) is table


def test_manifests_without_column_types_keep_their_digest() -> None:
    """What earlier versions wrote is still in canonical form: the new facts are left out where there are none."""
    assert b'{"dtype":"string","name":"s","shape":[-1]}' == msgspec.json.encode(
        Tensor("s", "string", (-1,)), order="sorted"
    )


class Foreign:
    """A table of another library, as polars and Arrow have them."""

    columns = ("x", "y")

    def __init__(self, table: Any) -> None:
        self.table = table

    def to_pandas(self) -> Any:
        if self.table is None:
            raise ModuleNotFoundError("pyarrow is required")
        return self.table


def test_tables_of_other_libraries_are_examples() -> None:
    """They become tables of pandas, as the server makes them of rows; what that needs is said."""
    pandas: Any = import_module("pandas")
    table = pandas.DataFrame({"x": [1.0, 2, 3], "y": [2.0, 1, 0]})
    made = model(LinearRegression().fit(table, [1, 2, 4]), name="foreign", example=Foreign(table))
    assert made.signature is not None
    assert ("x", "y") == made.signature.columns
    with pytest.raises(ConfigError, match=r"example is a tests\.Foreign: pyarrow is required; install pandas"):
        model(len, name="foreign", example=Foreign(None))
