"""Inputs with one value for the whole request: single numbers and texts, alone or beside rows, in every format."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from sdk.errors import ConfigError
from sdk.packaging.model import model as make_model
from sdk.serving import bundle, codecs, flavours, v2
from sdk.serving.settings import ServerLimits
from tests.packaging.inside import posted, served

if TYPE_CHECKING:
    from sdk.packaging.model import Model


def pack(obj: Any, example: Any, **wishes: Any) -> Model:
    return make_model(obj, name="whole", example=example, **wishes)


def shapes(model: Model) -> dict[str, tuple[int, ...]]:
    assert model.signature is not None
    return {one.name: one.shape for one in model.signature.inputs}


def scaled(given: Any) -> Any:
    return given["x"] * given["k"]


def double(number: Any) -> Any:
    return number * 2


def asked(model: Model, kind: bytes, body: bytes) -> Any:
    """The prediction for a body of some content type."""
    assert model.path is not None
    loaded = bundle.read(model.path)
    given = codecs.decode(kind, kind, body, loaded.manifest.signature, ServerLimits())
    return json.loads(codecs.encode_predictions(flavours.load(loaded)(given)).body)["predictions"]


def protocol(model: Model, *tensors: dict[str, Any]) -> Any:
    """The outputs of the Open Inference Protocol for some tensors."""
    assert model.path is not None
    loaded = bundle.read(model.path)
    request, given = v2.decode(
        json.dumps({"inputs": tensors}).encode(), None, loaded.manifest.signature, ServerLimits()
    )
    return json.loads(v2.encode(request, flavours.load(loaded)(given), "whole", "1").body)["outputs"]


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.parametrize("k", [2, 2.0, np.int64(2), np.asarray(2.0)])
def test_a_single_value_beside_rows(k: Any) -> None:
    """It is there once beside columns, or the same in each row; requests are neither cut nor joined."""
    model = pack(scaled, {"x": np.ones((3, 2)), "k": k})
    assert {"x": (-1, 2), "k": ()} == shapes(model)
    assert model.signature is not None
    assert not model.signature.rowwise
    assert [[4, 6], [8, 10]] == served(model, {"x": [[2, 3], [4, 5]], "k": 2})
    assert [[4, 6], [8, 10]] == posted(model, [{"x": [2, 3], "k": 2}, {"x": [4, 5], "k": 2}])
    assert [[4, 6]] == served(model, {"x": np.array([[2.0, 3]]), "k": k})
    assert [{"x": [1.0, 1.0], "k": 2}] * 3 == model.example


def test_a_text_beside_rows() -> None:
    model = pack(lambda given: [given["prefix"] + one for one in given["x"]], {"x": ["a", "b"], "prefix": "p-"})
    assert ["q-c"] == served(model, {"x": ["c"], "prefix": "q-"})


@pytest.mark.parametrize(("example", "asks", "wanted"), [(3.0, 4.5, 9.0), (3, 4, 8), (np.float32(3), 1.5, 3.0)])
def test_a_single_value_alone(example: Any, asks: Any, wanted: Any) -> None:
    model = pack(double, example)
    assert {"input": ()} == shapes(model)
    assert [example] == model.example
    for given in (asks, [asks], np.asarray(asks), np.asarray(asks)[None]):
        assert wanted == served(model, given)
    assert wanted == posted(model, json.dumps({"inputs": [asks]}).encode())
    assert wanted == asked(model, b"application/jsonlines", f"{asks}\n".encode())
    assert wanted == asked(model, b"text/csv", f"{asks}\n".encode())
    assert wanted == asked(model, b"application/x-npy", npy(np.asarray(asks)))
    with pytest.raises(Exception, match="is one value for the whole request, and row 1 has another than row 0"):
        served(model, [asks, asks + 1])


@pytest.mark.parametrize("shape", [[], [1]])
def test_a_single_value_in_the_open_inference_protocol(shape: list[int]) -> None:
    """Some clients know no tensor without axes."""
    number = {"shape": shape, "datatype": "FP64", "data": [4.5]}
    (alone,) = protocol(pack(double, 3.0), {"name": "input", **number})
    assert ([1], [9.0]) == (alone["shape"], alone["data"])
    rows = {"name": "x", "shape": [2, 1], "datatype": "FP64", "data": [1, 2]}
    (beside,) = protocol(pack(scaled, {"x": np.ones((3, 1)), "k": 2.0}), rows, {"name": "k", **number})
    assert ([2, 1], [4.5, 9.0]) == (beside["shape"], beside["data"])


def test_a_single_answer_is_one_line_of_csv() -> None:
    model = pack(lambda number: {"half": number / 2, "double": number * 2}, 3.0)
    assert model.path is not None
    loaded = bundle.read(model.path)
    given = codecs.decode(b"text/csv", b"text/csv", b"5", loaded.manifest.signature, ServerLimits())
    assert b"half,double\n2.5,10.0\n" == codecs.encode(b"text/csv", flavours.load(loaded)(given)).body


def test_single_values_beside_columns_in_csv() -> None:
    model = pack(scaled, {"x": [1.0, 2.0], "k": 3})
    text = io.StringIO()
    csv.writer(text).writerows([["k", "x"], [2, 1.5], [2, 2.5]])
    assert [3.0, 5.0] == asked(model, b"text/csv", text.getvalue().encode())


def test_functions_get_numbers_and_text_and_not_arrays_without_axes() -> None:
    """A dictionary can be asked for them, and text has its methods, when packed and when served."""
    table = {"eur": 2.0, "usd": 1.0}
    model = pack(lambda given: given["x"] * table[given["to"].lower()], {"x": [1.0], "to": "EUR"})
    assert [3.0] == served(model, {"x": [3.0], "to": "usd"})


def test_missing_values_are_asked_for_in_rows_alone() -> None:
    """What is one value for the whole request must be there."""
    model = pack(lambda given: np.nan_to_num(given["x"]) * given["k"], {"x": [1.0, 2.0], "k": 3.0})
    assert model.signature is not None
    assert {"x": False, "k": True} == {one.name: one.required for one in model.signature.inputs}
    assert [0.0, 6.0] == served(model, {"x": [None, 2.0], "k": 3.0})


@pytest.mark.parametrize(
    ("example", "reason"),
    [
        ("hi", "example is str; give a few rows"),
        (b"hi", "example is bytes; give a few rows"),
        (1j, "example is complex; give a few rows"),
        ({"t": "hi", "n": 3}, r"a dict of single values; put it into a list if it is one row: \[\{...\}\]"),
        ({"x": [1, 2], "y": [1, 2, 3]}, "all inputs must have the same number of rows, got x 2, y 3"),
        ({"x": [1, 2], "k": None}, r"example\['k'\] is NoneType"),
    ],
)
def test_what_may_be_one_row_or_several_inputs_is_refused(example: Any, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        pack(double, example)


def test_a_dict_of_single_values_is_a_row_of_a_table() -> None:
    """For a model that was fitted on one, as in `predict`."""
    table = pd.DataFrame({"a": [1.0, 2, 3], "b": [2.0, 1, 4]})
    fitted = LinearRegression().fit(table, [1, 2, 3])
    model = pack(fitted, {"a": 1.0, "b": 2.0})
    assert fitted.predict(table[:1]).tolist() == pytest.approx(served(model, {"a": 1.0, "b": 2.0}))


def test_rows_cannot_be_independent_of_a_value_for_all() -> None:
    with pytest.raises(ConfigError, match="rowwise=True, but input 'k' is one value for the whole request"):
        pack(scaled, {"x": [1.0, 2.0], "k": 3.0}, rowwise=True)
