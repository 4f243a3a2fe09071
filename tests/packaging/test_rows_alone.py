"""With every library: the answer for a row is the same alone, beside others, and in this process."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from sdk.packaging.model import Model
from sdk.packaging.model import model as make_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [
    pytest.mark.full,
    pytest.mark.filterwarnings("ignore"),  # the libraries warn while they import and save
]

LABELS = [0, 1, 1, 0, 1, 0] * 10
NUMBERS = np.random.default_rng(5).normal(size=(60, 3)).astype("float32")
SHOWN = 6


def _table() -> Any:
    """A row for each kind of gap: none, a number, a whole number, a truth value, a text, all."""
    pandas: Any = importlib.import_module("pandas")
    ages = [31.5, None, 44.0, 25.0, 61.0, None]
    visits = pandas.array([1, 2, None, 4, 5, None] * 10, dtype="Int64")
    member = pandas.array([True, False, True, None, False, None] * 10, dtype="boolean")
    return pandas.DataFrame({"age": ages * 10, "visits": visits, "member": member})


def _with_texts() -> Any:
    return _table().assign(town=["rome", "oslo", "lima", "rome", None, None] * 10)


def _xgboost(folder: Path) -> tuple[Model, Any]:
    xgboost: Any = pytest.importorskip("xgboost")
    fitted = xgboost.XGBClassifier(n_estimators=5).fit(_table(), LABELS)
    answer = fitted.predict_proba(_table()[:SHOWN])
    return make_model(fitted, name="alone", example=_table()[:SHOWN], method="predict_proba"), answer


def _lightgbm(folder: Path) -> tuple[Model, Any]:
    lightgbm: Any = pytest.importorskip("lightgbm")
    table = _table().astype({"visits": "float64", "member": "float64"})
    fitted = lightgbm.LGBMClassifier(n_estimators=5, min_data_in_leaf=1, verbose=-1).fit(table, LABELS)
    answer = fitted.predict_proba(table[:SHOWN])
    return make_model(fitted, name="alone", example=table[:SHOWN], method="predict_proba"), answer


def _lightgbm_booster(folder: Path) -> tuple[Model, Any]:
    lightgbm: Any = pytest.importorskip("lightgbm")
    table = _table().astype("float64")
    params = {"objective": "binary", "verbose": -1, "min_data_in_leaf": 1}
    booster = lightgbm.train(params, lightgbm.Dataset(table, LABELS), num_boost_round=5)
    return make_model(booster, name="alone", example=table[:SHOWN]), booster.predict(table[:SHOWN])


def _pipeline() -> Any:
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    texts = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore"))
    numbers = SimpleImputer()
    columns = make_column_transformer((texts, ["town"]), (numbers, ["age", "visits", "member"]))
    return make_pipeline(columns, LogisticRegression())


def _scikit_learn(folder: Path) -> tuple[Model, Any]:
    table = _with_texts().astype({"visits": "float64", "member": "float64"})
    fitted = _pipeline().fit(table, LABELS)
    answer = fitted.predict_proba(table[:SHOWN])
    return make_model(fitted, name="alone", example=table[:SHOWN], method="predict_proba"), answer


def _mlflow(folder: Path) -> tuple[Model, Any]:
    pytest.importorskip("mlflow")
    sklearn: Any = importlib.import_module("mlflow.sklearn")
    table = _with_texts().astype({"visits": "float64", "member": "float64"})
    fitted = _pipeline().fit(table, LABELS)
    infer: Any = importlib.import_module("mlflow.models").infer_signature
    signature = infer(table, fitted.predict(table))
    packages = ["mlflow-skinny", "pandas", "scikit-learn", "cloudpickle"]
    how = {"serialization_format": "cloudpickle", "signature": signature, "pip_requirements": packages}
    sklearn.save_model(fitted, folder / "saved", **how)
    saved = folder / "saved"
    model = Model.from_mlflow(saved, name="alone", trust="pickle", requirements=packages, allow_nan=True)
    return model, fitted.predict(table[:SHOWN])


def _onnx(folder: Path) -> tuple[Model, Any]:
    pytest.importorskip("onnxruntime")
    to_onnx: Any = pytest.importorskip("skl2onnx").to_onnx
    from sklearn.linear_model import LinearRegression

    fitted = LinearRegression().fit(NUMBERS, LABELS)
    (folder / "alone.onnx").write_bytes(to_onnx(fitted, NUMBERS[:1]).SerializeToString())
    model = Model.from_path(folder / "alone.onnx", name="alone", example=NUMBERS[:SHOWN])
    return model, fitted.predict(NUMBERS[:SHOWN]).reshape(-1, 1)


def _keras(folder: Path) -> tuple[Model, Any]:
    pytest.importorskip("torch")
    keras: Any = pytest.importorskip("keras")
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, activation="relu")])
    return make_model(network, name="alone", example=NUMBERS[:SHOWN]), network.predict(NUMBERS[:SHOWN], verbose=0)


def _torch(folder: Path) -> tuple[Model, Any]:
    torch: Any = pytest.importorskip("torch")
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.ReLU()).eval()
    answer = network(torch.from_numpy(NUMBERS[:SHOWN])).detach().numpy()
    return make_model(network, name="alone", example=NUMBERS[:SHOWN]), answer


@pytest.mark.parametrize(
    "make", [_xgboost, _lightgbm, _lightgbm_booster, _scikit_learn, _mlflow, _onnx, _keras, _torch],
    ids=lambda make: make.__name__.strip("_"),
)  # fmt: skip
def test_a_row_alone_is_answered_as_beside_others(
    make: Callable[[Path], tuple[Model, Any]], serve: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the real server, as objects by column and as lists of values."""
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    model, answer = make(tmp_path)
    with serve(model) as client:
        rows = model.example or _objects(_with_texts()[:SHOWN])  # MLflow records no example
        together = _ask(client, rows)
        np.testing.assert_allclose(np.asarray(together, dtype=float), np.asarray(answer, dtype=float), rtol=1e-4)
        for row, expected in zip(rows, together, strict=True):
            values = list(row.values()) if isinstance(row, dict) else row
            assert expected == pytest.approx(_ask(client, [row])[0], rel=1e-5)
            assert expected == pytest.approx(_ask(client, [values])[0], rel=1e-5)


def _objects(table: Any) -> list[dict[str, Any]]:
    pandas: Any = importlib.import_module("pandas")
    rows = table.to_dict("records")
    return [{name: None if pandas.isna(cell) else cell for name, cell in row.items()} for row in rows]


def _ask(client: Any, instances: Any) -> Any:
    response = client.post("/invocations", json={"instances": instances})
    assert 200 == response.status_code, response.text
    return response.json()["predictions"]
