"""Each flavour, served from its own file format, answers as the live object does; missing libraries are skipped."""

from __future__ import annotations

import json
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest

from sdk.serving.bundle import read
from sdk.serving.codecs import decode_instances, encode_predictions
from sdk.serving.flavours import load
from sdk.serving.settings import ServerLimits

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [
    pytest.mark.full,
    pytest.mark.filterwarnings("ignore"),  # the libraries warn while they import and save; that is theirs
]

X = np.random.default_rng(3).random((40, 3)).astype(np.float32)
Y = (X.sum(axis=1) > 1.5).astype(int)
FREE: dict[str, Any] = {"inputs": [], "outputs": [], "rowwise": False}


def _signature(dtype: str, name: str = "input") -> dict[str, Any]:
    return {"inputs": [{"name": name, "dtype": dtype, "shape": [-1, 3]}], "outputs": [], "rowwise": True}


def _answers(server: Any) -> Any:
    answer = httpx.post(f"{server.ready().url}/invocations", json={"instances": X[:5].tolist()}, timeout=60)
    assert 200 == answer.status_code, answer.text
    return np.asarray(answer.json()["predictions"])


def _check(expected: Any, start: Callable[..., Any], bundles: Any, file: Path, **manifest: Any) -> None:
    """Serve the file with and without a signature; both answers must be the expected ones."""
    for signature in (manifest.pop("signature"), {"inputs": [], "outputs": [], "rowwise": True}):
        bundle = bundles({f"model/{file.name}": file.read_bytes()}, signature=signature, **manifest)
        np.testing.assert_allclose(_answers(start(bundle)), np.asarray(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["Booster", "XGBClassifier"])
def test_xgboost(bundles: Any, start: Callable[..., Any], tmp_path: Path, kind: str) -> None:
    """Boosters and wrappers from XGBoost's binary JSON."""
    xgboost: Any = pytest.importorskip("xgboost")
    model = xgboost.XGBClassifier(n_estimators=4).fit(X, Y)
    live = model.get_booster() if kind == "Booster" else model
    file = tmp_path / "model.ubj"
    live.save_model(file)
    expected = live.predict(xgboost.DMatrix(X[:5]) if kind == "Booster" else X[:5])
    signature = _signature("float32")
    _check(
        expected, start, bundles, file, flavour="xgboost", format="ubj", options={"class": kind}, signature=signature
    )


def test_lightgbm(bundles: Any, start: Callable[..., Any], tmp_path: Path) -> None:
    """Boosters from LightGBM's text."""
    lightgbm: Any = pytest.importorskip("lightgbm")
    params = {"objective": "binary", "verbose": -1, "min_data_in_leaf": 1}
    live = lightgbm.train(params, lightgbm.Dataset(X, Y), num_boost_round=4)
    file = tmp_path / "model.txt"
    live.save_model(str(file))
    _check(live.predict(X[:5]), start, bundles, file, flavour="lightgbm", format="txt", signature=_signature("float64"))


def test_onnx(bundles: Any, start: Callable[..., Any], tmp_path: Path) -> None:
    """An ONNX graph; JSON numbers are given to it as the floats it declares."""
    pytest.importorskip("onnxruntime")
    to_onnx: Any = pytest.importorskip("skl2onnx").to_onnx
    live = import_module("sklearn.linear_model").LinearRegression().fit(X, Y)
    file = tmp_path / "model.onnx"
    file.write_bytes(to_onnx(live, X[:1]).SerializeToString())
    expected = live.predict(X[:5]).reshape(-1, 1)
    _check(expected, start, bundles, file, flavour="onnx", format="onnx", signature=_signature("float32", "X"))


def test_onnx_with_maps_has_one_object_for_each_row(bundles: Any, tmp_path: Path) -> None:
    """ZipMap, which converters put behind classifiers, makes a list of maps: labels and probabilities stay together."""
    pytest.importorskip("onnxruntime")
    to_onnx: Any = pytest.importorskip("skl2onnx").to_onnx
    live = import_module("sklearn.linear_model").LogisticRegression().fit(X, Y)
    file = tmp_path / "model.onnx"
    file.write_bytes(to_onnx(live, X[:1].astype("float32")).SerializeToString())
    packed = read(bundles({"model/model.onnx": file.read_bytes()}, flavour="onnx", format="onnx", signature=FREE))
    given = decode_instances(
        json.dumps({"instances": X[:3].tolist()}).encode(), packed.manifest.signature, ServerLimits()
    )
    rows = json.loads(encode_predictions(load(packed)(given)).body)["predictions"]
    assert live.predict(X[:3]).tolist() == [row["output_label"] for row in rows]
    shares = [[row["output_probability"][name] for name in "01"] for row in rows]
    np.testing.assert_allclose(live.predict_proba(X[:3]), shares, rtol=1e-4)


@pytest.mark.parametrize("form", ["torchscript", "torch"])
def test_pytorch(bundles: Any, start: Callable[..., Any], tmp_path: Path, form: str) -> None:
    """Modules, compiled and pickled."""
    torch: Any = pytest.importorskip("torch")
    live = torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Dropout(0.5), torch.nn.Linear(4, 1)
    ).eval()
    file = tmp_path / "model.pt"
    if form == "torch":
        torch.save(live, file)
    else:
        torch.jit.script(live).save(str(file))
    expected = live(torch.from_numpy(X[:5])).detach().numpy()
    flavour = "pytorch" if form == "torch" else "torchscript"
    _check(expected, start, bundles, file, flavour=flavour, format=form, signature=_signature("float32"))


def test_keras(bundles: Any, start: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Keras archive on the recorded backend."""
    pytest.importorskip("torch")
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    keras: Any = pytest.importorskip("keras")
    live = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, activation="relu")])
    file = tmp_path / "model.keras"
    live.save(file)
    expected = live.predict(X[:5], verbose=0)
    options = {"backend": "torch"}
    _check(
        expected,
        start,
        bundles,
        file,
        flavour="keras",
        format="keras",
        options=options,
        signature=_signature("float32"),
    )


def test_mlflow(bundles: Any, start: Callable[..., Any], tmp_path: Path) -> None:
    """A folder that MLflow saved, through its python_function."""
    pytest.importorskip("mlflow")
    sklearn: Any = pytest.importorskip("mlflow.sklearn")
    live = import_module("sklearn.linear_model").LinearRegression().fit(X, Y)
    sklearn.save_model(live, tmp_path / "saved", serialization_format="cloudpickle")
    files = {
        f"model/mlflow/{one.relative_to(tmp_path / 'saved')}": one.read_bytes()
        for one in (tmp_path / "saved").rglob("*")
        if one.is_file()
    }
    manifest = {"flavour": "mlflow", "format": "mlflow", "entry": "model/mlflow"}
    bundle = bundles(
        files, signature=_signature("float64"), libraries={"mlflow-skinny": version("mlflow-skinny")}, **manifest
    )
    np.testing.assert_allclose(_answers(start(bundle)), live.predict(X[:5]), rtol=1e-4)
