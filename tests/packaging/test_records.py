"""Several inputs and records: the same in `example=`, in `predict` and in the JSON of a request."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction import DictVectorizer, FeatureHasher
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sdk.dataplane.payload import EncodingRules, bodies
from sdk.errors import ConfigError, InvalidInputError
from sdk.packaging.model import model as make_model
from sdk.serving.failures import RequestError
from tests.packaging.inside import posted, served

if TYPE_CHECKING:
    from collections.abc import Callable

    from sdk.packaging.model import Model


def total(inputs: Any) -> Any:
    return inputs["a"].sum(axis=1) + inputs["b"]


COLUMNS: dict[str, Any] = {
    "arrays": {"a": np.array([[1.0, 2.0], [3.0, 4.0]]), "b": np.array([5.0, 6.0])},
    "lists": {"a": [[1, 2], [3, 4]], "b": [5, 6]},
    "lists of arrays": {"a": [np.array([1, 2]), np.array([3, 4])], "b": (5, 6)},
    "series": {"a": [[1, 2], [3, 4]], "b": pd.Series([5, 6], index=[7, 9])},
    "column vector": {"a": [[1, 2], [3, 4]], "b": [[5], [6]]},
    "records": [{"a": [1, 2], "b": 5}, {"a": np.array([3, 4]), "b": np.float32(6)}],
}
ONE: dict[str, Any] = {
    "arrays of one row": {"a": np.ones((1, 2)), "b": np.ones(1)},
    "lists of one row": {"a": [[1, 1]], "b": [1]},
    "one record": {"a": [1, 1], "b": 1},
    "one record of arrays": {"a": np.ones(2), "b": np.array(1.0)},
    "a list of one record": [{"a": [1, 1], "b": 1}],
}


@pytest.fixture(scope="module")
def two_inputs() -> Model:
    example = {"a": np.ones((3, 2)), "b": np.arange(3.0)}
    return make_model(total, name="two-inputs", example=example)


@pytest.mark.parametrize("form", COLUMNS)
def test_columns_mean_the_same_in_predict(two_inputs: Model, form: str) -> None:
    """Arrays, lists and records give the same rows."""
    assert [8.0, 13.0] == served(two_inputs, COLUMNS[form])


@pytest.mark.parametrize("form", ONE)
def test_one_row(two_inputs: Model, form: str) -> None:
    """A column has the axis of the rows, a record has not."""
    assert [3.0] == served(two_inputs, ONE[form])


@pytest.mark.parametrize("form", ["arrays", "lists", "lists of arrays", "column vector"])
def test_columns_mean_the_same_in_an_example(two_inputs: Model, form: str) -> None:
    """The signature is that of the arrays."""
    example = {"a": np.asarray(COLUMNS[form]["a"], dtype=float), "b": COLUMNS[form]["b"]}
    model = make_model(lambda inputs: inputs["a"][:, 0] + np.ravel(inputs["b"]), name="two-inputs", example=example)
    assert ["a", "b"] == [one.name for one in model.signature.inputs]  # type: ignore[union-attr]  # it has one
    assert [6.0, 9.0] == served(model, COLUMNS[form])


def test_columns_in_the_json_of_a_request(two_inputs: Model) -> None:
    """Other clients may send the dict as it is."""
    assert [8.0, 13.0] == posted(two_inputs, COLUMNS["lists"])
    assert [8.0] == posted(two_inputs, {"a": [1, 2], "b": 5})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"a": [[1, 2]], "b": 5}, "'a' has a value for each row, 'b' has one value; give both in the same way"),
        ({"a": [[1, 2]], "b": [5, 6]}, "all inputs must have the same number of rows, got a 1, b 2"),
    ],
)
def test_columns_that_do_not_fit_are_named(two_inputs: Model, given: Any, said: str) -> None:
    """Before anything is sent, and by the server."""
    with pytest.raises(InvalidInputError, match=said):
        served(two_inputs, given)
    with pytest.raises(RequestError, match=said):
        posted(two_inputs, given)


def test_one_input_by_its_name() -> None:
    """A model with one input takes it by name as well."""
    model = make_model(lambda rows: rows.sum(axis=1), name="one-input", example={"pixels": np.ones((3, 2))})
    for given in ({"pixels": [[1, 2], [3, 4]]}, [{"pixels": [1, 2]}, {"pixels": [3, 4]}], [[1, 2], [3, 4]]):
        assert [3.0, 7.0] == served(model, given)
    assert [3.0] == served(model, {"pixels": [1, 2]})


def test_a_series_of_a_table_is_a_row() -> None:
    """`table.iloc[0]` is labelled by the columns; a column is labelled by rows and is refused as it was."""
    table = pd.DataFrame({"x": [1.0, 2.0], "y": [3.0, 5.0]})
    fitted = LinearRegression().fit(table, [1.0, 2.0])
    model = make_model(fitted, name="table", example=table)
    np.testing.assert_allclose(fitted.predict(table[1:]), served(model, table.iloc[1]))
    np.testing.assert_allclose(fitted.predict(table[1:]), served(model, table[["y", "x"]].iloc[1]))
    with pytest.raises(RequestError, match="row 0 must have the 2 columns x, y"):
        served(model, table["x"])


def test_one_row_of_a_matrix_says_how_to_send_it() -> None:
    """The shape alone does not tell that the brackets around the row are missing."""
    model = make_model(LinearRegression().fit([[1.0, 2.0]], [1.0]), name="matrix", example=[[1.0, 2.0]])
    for row in (np.ones(2), [1.0, 2.0], pd.Series([1.0, 2.0])):
        with pytest.raises(RequestError, match=r"got \[2\]; send a single row as a list with one row in it"):
            served(model, row)


def test_columns_of_a_table() -> None:
    """A model fitted on a table takes its columns as a table, a dict of columns, records, or one record."""
    table = pd.DataFrame({"age": [1.0, 2.0, 3.0], "size": [1.0, 0.0, 1.0]})
    fitted = LinearRegression().fit(table, [3.0, 2.0, 5.0])
    wanted = fitted.predict(table)
    columns = {name: table[name].tolist() for name in table}
    records = table.to_dict("records")
    models = [make_model(fitted, name="table", example=example) for example in (table, columns, records)]
    assert 1 == len({model.digest for model in models})
    for given in (table, columns, {name: table[name] for name in table}, records):
        np.testing.assert_allclose(wanted, served(models[0], given))
    np.testing.assert_allclose(wanted[:1], served(models[0], records[0]))


def test_columns_for_a_model_that_is_not_known_here() -> None:
    """Arrays of a library are columns; everything else is one record, which may hold lists."""
    unknown = EncodingRules(limit=10_000)
    (body,) = bodies({"a": np.ones((2, 1)), "b": np.ones(2)}, unknown)
    assert b'{"instances":[{"a":[1.0],"b":1.0},{"a":[1.0],"b":1.0}]}' == body.content
    (body,) = bodies({"text": "hi", "tags": ["a", "b"]}, unknown)
    assert b'{"instances":[{"text":"hi","tags":["a","b"]}]}' == body.content


# --- records

RECORDS: list[Any] = [{"text": "hi", "tags": ["a"], "more": {"n": None}}, {"text": "ä", "tags": []}]


def lengths(rows: Any) -> Any:
    return [{"n": len(row["text"]), "tags": ["x", *row["tags"]]} for row in rows]


def echo(rows: Any) -> Any:
    return rows


class Echo:
    def predict(self, rows: Any) -> Any:
        return rows


@pytest.mark.parametrize("obj", [echo, Echo, Echo()], ids=["function", "class", "object"])
def test_records_pass_through(obj: Any) -> None:
    """An example of records makes a model that takes any JSON, and gets it unchanged."""
    model = make_model(obj, name="records", example=RECORDS)
    assert model.signature is not None
    assert ((), (), None) == (model.signature.inputs, model.signature.outputs, model.signature.columns)
    assert RECORDS == model.example
    other = [{"text": 1.5, "deep": [{"a": [[1], []]}]}]
    assert other == served(model, other)
    assert other == served(model, other[0])


@pytest.mark.parametrize("example", [RECORDS, None])
def test_answers_of_dicts_and_lists(example: Any) -> None:
    """One value of any form for each row, with or without an example."""
    model = make_model(lengths, name="records", example=example)
    assert [{"n": 5, "tags": ["x", "b"]}] == served(model, [{"text": "hello", "tags": ["b"]}])
    assert [{"n": 2, "tags": ["x"]}] == served(model, {"text": "hi", "tags": []})


WORDS = [{"town": "rome", "n": 1}, {"town": "oslo", "n": 2}, {"town": "rome", "n": 3}, {"town": "lima", "n": 0}]
VECTORS: dict[str, Callable[[], Any]] = {
    "DictVectorizer": DictVectorizer,
    "FeatureHasher": lambda: FeatureHasher(16),
    "nested pipeline": lambda: make_pipeline(DictVectorizer(sparse=False), StandardScaler()),
}


@pytest.mark.parametrize("shown", ["records", "table", "nothing"])
@pytest.mark.parametrize("vectors", VECTORS)
def test_estimators_that_take_dicts_get_records(vectors: str, shown: str) -> None:
    """Whatever the example is; a row may lack keys and have others, as in this process."""
    fitted = make_pipeline(VECTORS[vectors](), LinearRegression()).fit(WORDS, [0.0, 1.0, 2.0, 5.0])
    example: Any = {"records": WORDS[:2], "table": pd.DataFrame(WORDS[:2]), "nothing": None}[shown]
    model = make_model(fitted, name="dicts", example=example)
    for asked in (WORDS, WORDS[3:], [{"town": "oslo"}, {"n": 7, "new": "x"}]):
        np.testing.assert_allclose(fitted.predict(asked), served(model, asked))
    assert model.manifest is not None
    assert ("skops", True) == (model.manifest.format, model.manifest.signature.records)


def test_records_come_as_a_request_brings_them() -> None:
    """The model is asked for its example with what JSON makes of it."""
    seen: list[Any] = []

    def keep(rows: Any) -> Any:
        seen.append(rows)
        return [1 for _ in rows]

    day = dt.date(2026, 1, 2)
    make_model(keep, name="records", example=[{"day": day, "pair": (1, 2), "n": np.float32(0.5), "v": np.arange(2)}])
    assert [{"day": "2026-01-02", "pair": [1, 2], "n": 0.5, "v": [0, 1]}] == seen[0]


@pytest.mark.parametrize(
    ("example", "said"),
    [
        ([{"a": 1}, 2], "example has dicts and other values side by side"),
        ([{"a": object()}], r"example: .*a object cannot be sent"),
        ([{"a": float("nan")}], r"example: instances\[0\].a is NaN"),
    ],
)
def test_records_that_cannot_be_sent_are_refused(example: Any, said: str) -> None:
    """The reason names the row."""
    with pytest.raises(ConfigError, match=said):
        make_model(echo, name="records", example=example)


def test_records_in_the_real_server(serve: Callable[..., Any]) -> None:
    """A packed model answers records over HTTP."""
    with serve(make_model(lengths, name="records", example=RECORDS)) as client:
        for instances in ([{"text": "hello", "tags": ["b"]}], {"text": "hello", "tags": ["b"]}):
            answer = client.post("/invocations", json={"instances": instances})
            assert {"predictions": [{"n": 5, "tags": ["x", "b"]}]} == answer.json()
