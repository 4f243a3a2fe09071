"""Which missing values a model takes: found out by asking it, in few calls."""

from __future__ import annotations

from importlib import import_module
from math import isnan
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.ensemble import BaggingClassifier, HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sdk.errors import ConfigError
from sdk.packaging import examples, missing
from sdk.packaging.model import model
from sdk.serving import bundle, codecs
from sdk.serving.failures import RequestError
from sdk.serving.settings import ServerLimits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PANDAS: Any = import_module("pandas")
NUMBERS = np.random.default_rng(3).normal(size=(40, 3))
LABELS = (NUMBERS[:, 0] > 0).astype(int)
PEOPLE = PANDAS.DataFrame({
    "age": NUMBERS[:, 0],
    "income": NUMBERS[:, 1],
    "town": ["Oslo", "Rome"] * 20,
    "size": PANDAS.Categorical(["S", "M"] * 20),
    "since": PANDAS.date_range("2024-01-01", periods=40),
    "children": PANDAS.array([1, 2] * 20, dtype="Int64"),
    "visits": range(40),
})  # fmt: skip


def imputing() -> Any:
    return make_pipeline(SimpleImputer(), LogisticRegression())


@pytest.mark.parametrize(
    ("estimator", "takes"),
    [
        (LogisticRegression(), False),
        (make_pipeline(StandardScaler(), LogisticRegression()), False),
        (CalibratedClassifierCV(LogisticRegression(), cv=2), False),
        (imputing(), True),
        (GridSearchCV(imputing(), {"logisticregression__C": [1.0, 2.0]}, cv=2), True),
        (CalibratedClassifierCV(imputing(), cv=2), True),
        (BaggingClassifier(HistGradientBoostingClassifier(max_iter=2), 2), True),
        (StandardScaler(), True),
    ],
    ids=lambda value: type(value).__name__,
)
def test_estimators_are_asked(estimator: Any, takes: bool) -> None:
    """Also pipelines and meta-estimators, which say nothing of their parts."""
    signature = model(estimator.fit(NUMBERS, LABELS), name="nan", example=NUMBERS[:3]).signature
    assert signature is not None
    assert takes is signature.allow_nan


def test_each_column_is_found_out_for_itself() -> None:
    """A pipeline that fills some columns takes missing values there; the server refuses them in the others."""
    columns = make_column_transformer(
        (SimpleImputer(), ["age"]), (OneHotEncoder(), ["town"]), ("passthrough", ["income"])
    )
    table = PEOPLE[["age", "income", "town"]]
    packed = model(make_pipeline(columns, LogisticRegression()).fit(table, LABELS), name="nan", example=table[:4])
    assert packed.path is not None
    signature = bundle.read(packed.path).manifest.signature
    assert signature.allow_nan
    assert ["income", "town"] == [one.name for one in signature.inputs if one.required]
    rows = b'{"instances": [[null, 1, "Oslo"]]}'
    assert np.isnan(codecs.decode_instances(rows, signature, ServerLimits()).tensors["age"][0])
    for body, column in ((b"[[1, null, null]]", "income"), (b"[[1, 1, null]]", "town")):
        with pytest.raises(RequestError, match=f"column '{column}' is .*; this model takes none"):
            codecs.decode_instances(b'{"instances": ' + body + b"}", signature, ServerLimits())


def test_missing_values_of_every_type_are_asked_for() -> None:
    """A function gets the missing value that each type has; a type that has none is not asked for."""
    seen: dict[str, set[str]] = {}

    def look(rows: Any) -> Any:
        for name in rows:
            gaps = [type(one).__name__ for one in rows[name] if PANDAS.isna(one)]
            seen.setdefault(f"{name} {rows[name].dtype}", set()).update(gaps)
        return np.zeros(len(rows))

    signature = model(look, name="nan", example=PEOPLE[:2]).signature
    assert signature is not None
    assert signature.allow_nan
    assert not any(one.required for one in signature.inputs)
    text = str(PEOPLE["town"].dtype)
    moment = str(PEOPLE["since"].dtype)
    assert {
        "age float64": {"float"}, "income float64": {"float"}, f"town {text}": {"float"}, "size category": {"float"},
        f"since {moment}": {"NaTType"}, "children Int64": {"NAType"}, "visits int64": set(),
    } == seen  # fmt: skip


class Model:
    """Refuses missing values in some columns, and counts."""

    def __init__(self, refused: set[str]) -> None:
        self.refused = refused
        self.calls = 0
        self.most_rows = 0

    def __call__(self, rows: Any) -> Any:
        self.calls += 1
        self.most_rows = max(self.most_rows, len(rows))
        if any(rows[name].isna().any() for name in self.refused):
            raise ValueError("no missing values here")
        return np.zeros(len(rows))


def asked(refused: set[str], width: int, **how: Any) -> tuple[Model, set[str]]:
    """The columns that are refused in the end, of a table of so many."""
    table = examples.prepare(PANDAS.DataFrame({f"c{number}": [1.0, 2.0] for number in range(width)}))
    live, inputs = Model(refused), examples.inputs(table)
    taken = missing.Asked(live, table, np.zeros(2), **{"clock": lambda: 0.0, **how}).takes(inputs)
    return live, {one.name for one in inputs} - taken


def test_a_wide_table_costs_few_calls() -> None:
    """One call when all is taken; a column that is not is found by halves; rows and calls are bounded."""
    live, refused = asked(set(), 100)
    assert (1, set()) == (live.calls, refused)
    live, refused = asked({"c7"}, 100)
    assert {"c7"} == refused
    assert live.calls <= missing.MOST_CALLS
    assert live.most_rows <= missing.MOST_ROWS
    live, refused = asked({f"c{number}" for number in range(100)}, 100)
    assert (missing.MOST_CALLS, 100) == (live.calls, len(refused))
    live, refused = asked({f"c{number}" for number in range(100)}, 100, calls=missing.FEW_CALLS)
    assert (missing.FEW_CALLS, 100) == (live.calls, len(refused))


def test_a_slow_model_is_not_asked_again() -> None:
    """What was not found out in time counts as refused."""
    ticks: Iterator[float] = iter([0.0, missing.SECONDS + 1])
    live, refused = asked({"c0"}, 8, clock=lambda: next(ticks))
    assert (1, 8) == (live.calls, len(refused))


@pytest.mark.parametrize(
    ("function", "takes"),
    [
        (lambda rows: rows["age"] * 2, False),
        (lambda rows: rows["age"].fillna(0.0), True),
        (lambda rows: [{"twice": one * 2} for one in rows["age"]], False),
        (lambda rows: [None if isnan(one) else one for one in rows["age"]], False),
        (lambda rows: ["none" if isnan(one) else "some" for one in rows["age"]], True),
        (lambda rows: {"a": rows["age"].fillna(0.0), "b": rows["age"]}, False),
    ],
)
def test_a_missing_answer_is_no_answer(function: Callable[[Any], Any], takes: bool) -> None:
    """A function that hands a missing value on does not take it; the request that has one is told so."""
    signature = model(function, name="nan", example=PEOPLE[["age"]][:2]).signature
    assert signature is not None
    assert takes is signature.allow_nan


def test_what_the_user_says_is_not_asked() -> None:
    """With allow_nan= the model is called for its example and no more."""
    for wish in (True, False):
        live = Model({"age"})
        signature = model(live, name="nan", example=PEOPLE[["age"]][:1], allow_nan=wish, rowwise=True).signature
        assert signature is not None
        assert (1, wish) == (live.calls, signature.allow_nan)


def test_an_example_with_missing_values_is_within_its_signature() -> None:
    """The model has answered them; only a wish to the contrary is refused."""
    table = PEOPLE[["age", "income"]][:2].assign(age=[np.nan, 1.0])
    signature = model(Model({"income"}), name="nan", example=table).signature
    assert signature is not None
    assert (True, [False, True]) == (signature.allow_nan, [one.required for one in signature.inputs])
    with pytest.raises(ConfigError, match="allow_nan=False, but the example has missing values"):
        model(Model(set()), name="nan", example=table, allow_nan=False)


def test_arrays_are_asked_for_each_feature() -> None:
    """Each feature is missing once; the rest of the row stays."""
    given: list[Any] = []

    def look(rows: Any) -> Any:
        given.append(np.isnan(rows))
        return np.zeros(len(rows))

    signature = model(look, name="nan", example=NUMBERS[:2]).signature
    assert signature is not None
    assert signature.allow_nan
    assert np.eye(3, dtype=bool).tolist() == given[-1].tolist()
    named = {"a": NUMBERS[:2], "b": NUMBERS[:2], "n": np.ones((2, 1), dtype=int)}
    inputs = model(lambda rows: rows["a"].sum(axis=1) + np.nan_to_num(rows["b"]).sum(axis=1), name="nan", example=named)
    assert inputs.signature is not None
    assert [True, False, False] == [one.required for one in inputs.signature.inputs]


def test_masked_values_are_missing_ones() -> None:
    """NaN says so in a request; whole numbers and text have no such value."""
    masked = np.ma.masked_array([[1.0, 2.0], [3.0, 4.0]], mask=[[False, True], [False, False]])
    assert np.array_equal([[1.0, np.nan], [3.0, 4.0]], examples.prepare(masked), equal_nan=True)
    assert [2, 4] == examples.prepare({"a": np.ma.masked_array([2, 4])})["a"].tolist()
    with pytest.raises(ConfigError, match=r"example\['a'\] has masked values of type int64; give floats"):
        examples.prepare({"a": np.ma.masked_array([2, 4], mask=[True, False])})
