"""Every kind of object is packed, served by the real server in its own locked environment, and answers the same."""

from __future__ import annotations

import importlib.util
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest

from sdk.packaging import venv
from sdk.packaging.model import model as make_model
from tests.packaging.inside import served

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

ROWS = np.random.default_rng(0).normal(size=(60, 4))
LABELS = (ROWS[:, 0] + ROWS[:, 1] > 0).astype(int)


class Case(NamedTuple):
    """A live object, its example, what it answers, and how it is stored."""

    obj: Any
    example: Any
    answer: Any
    stored: str
    wishes: Mapping[str, Any] = MappingProxyType({})


def frame() -> Any:
    pandas: Any = importlib.import_module("pandas")
    towns = ["rome", "oslo", "lima"] * 20
    return pandas.DataFrame({"age": ROWS[:, 0], "visits": np.arange(60), "town": towns})


def forest(folder: Path) -> Case:
    from sklearn.ensemble import RandomForestClassifier

    fitted = RandomForestClassifier(5, random_state=0).fit(ROWS, LABELS)
    return Case(fitted, ROWS[:5], fitted.predict(ROWS[:5]), "sklearn/skops")


def probabilities(folder: Path) -> Case:
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression().fit(ROWS, LABELS)
    answer = fitted.predict_proba(ROWS[:5])
    return Case(fitted, ROWS[:5].tolist(), answer, "sklearn/skops", {"method": "predict_proba"})


def pipeline_on_a_table(folder: Path) -> Case:
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    columns = ColumnTransformer(
        [("numbers", StandardScaler(), ["age", "visits"]), ("towns", OneHotEncoder(sparse_output=False), ["town"])]
    )
    fitted = make_pipeline(columns, HistGradientBoostingClassifier(max_iter=5)).fit(frame(), LABELS)
    return Case(fitted, frame()[:5], fitted.predict(frame()[:5]), "sklearn/skops")


def own_transformer(folder: Path) -> Case:
    from sklearn.base import BaseEstimator, TransformerMixin
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline

    class Twice(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
        def fit(self, rows: Any, labels: Any = None) -> Twice:
            self.fitted_ = True
            return self

        def transform(self, rows: Any) -> Any:
            return rows * 2

    fitted = make_pipeline(Twice(), Ridge()).fit(ROWS, LABELS)
    return Case(fitted, ROWS[:5], fitted.predict(ROWS[:5]), "sklearn/cloudpickle")


def function(folder: Path) -> Case:
    weights = np.arange(4.0)

    def score(rows: Any) -> Any:
        import scipy.special

        return scipy.special.expit(rows @ weights)

    return Case(score, ROWS[:5], score(ROWS[:5]), "function/cloudpickle", {"rowwise": True})


def named_inputs(folder: Path) -> Case:
    def add(inputs: Any) -> Any:
        return {"sum": inputs["a"] + inputs["b"], "text": inputs["c"]}

    example = {"a": np.arange(3), "b": np.array([0.5, 1.5, 2.5]), "c": ["x", "y", "z"]}
    return Case(add, example, {"sum": [0.5, 2.5, 4.5], "text": ["x", "y", "z"]}, "function/cloudpickle")


def class_with_files(folder: Path) -> Case:
    class Offset:
        def load(self, files: str) -> None:
            from pathlib import Path

            self.offset = float((Path(files) / "offset.txt").read_text())

        def predict(self, rows: Any) -> Any:
            return rows[:, 0] + self.offset

    (folder / "offset.txt").write_text("2.5")
    wishes = {"artifacts": folder / "offset.txt"}
    return Case(Offset, ROWS[:5], ROWS[:5, 0] + 2.5, "class/cloudpickle", wishes)


def instance(folder: Path) -> Case:
    class Constant:
        def __init__(self, value: float) -> None:
            self.value = value

        def predict(self, rows: Any) -> Any:
            return np.full(len(rows), self.value)

    return Case(Constant(7.5), ROWS[:2], [7.5, 7.5], "class/cloudpickle")


def xgboost_wrapper(folder: Path) -> Case:
    xgboost: Any = importlib.import_module("xgboost")
    fitted = xgboost.XGBClassifier(n_estimators=5).fit(ROWS, LABELS)
    answer = fitted.predict_proba(ROWS[:5])
    return Case(fitted, ROWS[:5], answer, "xgboost/ubj", {"method": "predict_proba"})


def xgboost_booster(folder: Path) -> Case:
    xgboost: Any = importlib.import_module("xgboost")
    matrix = xgboost.DMatrix(ROWS.astype("float32"), LABELS)
    booster = xgboost.train({"objective": "binary:logistic"}, matrix, num_boost_round=5)
    rows = ROWS[:5].astype("float32")
    return Case(booster, rows, booster.predict(xgboost.DMatrix(rows)), "xgboost/ubj")


def lightgbm_booster(folder: Path) -> Case:
    lightgbm: Any = importlib.import_module("lightgbm")
    data = lightgbm.Dataset(ROWS, LABELS)
    booster = lightgbm.train({"objective": "binary", "verbose": -1}, data, num_boost_round=5)
    return Case(booster, ROWS[:5], booster.predict(ROWS[:5]), "lightgbm/txt")


def lightgbm_wrapper(folder: Path) -> Case:
    lightgbm: Any = importlib.import_module("lightgbm")
    fitted = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1).fit(ROWS, np.where(LABELS, "yes", "no"))
    return Case(fitted, ROWS[:5], fitted.predict(ROWS[:5]), "sklearn/skops")


def keras_network(folder: Path) -> Case:
    keras: Any = importlib.import_module("keras")
    network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="relu"), keras.layers.Dense(1)])
    rows = ROWS[:5].astype("float32")
    return Case(network, rows, network.predict(rows, verbose=0), "keras/keras")


def torch_network(folder: Path) -> Case:
    torch: Any = importlib.import_module("torch")

    class Net(torch.nn.Module):  # type: ignore[misc]  # not installed everywhere
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(4, 2)
            self.noise = torch.nn.Dropout(0.5)

        def forward(self, rows: Any) -> Any:
            return self.noise(torch.relu(self.layer(rows)))

    net = Net()
    rows = ROWS[:5].astype("float32")
    with torch.no_grad():
        answer = torch.relu(net.layer(torch.from_numpy(rows))).numpy()
    return Case(net, rows, answer, "pytorch/torch")


def torchscript(folder: Path) -> Case:
    torch: Any = importlib.import_module("torch")
    layer = torch.nn.Linear(4, 2).eval()
    rows = ROWS[:5].astype("float32")
    with torch.no_grad():
        answer = layer(torch.from_numpy(rows)).numpy()
    return Case(torch.jit.script(layer), rows, answer, "torchscript/torchscript")


QUICK = [pipeline_on_a_table, function, named_inputs, class_with_files]
EVERYWHERE = [*QUICK, forest, probabilities, own_transformer, instance]
LIBRARIES: dict[Callable[[Path], Case], str] = {
    xgboost_wrapper: "xgboost",
    xgboost_booster: "xgboost",
    lightgbm_booster: "lightgbm",
    lightgbm_wrapper: "lightgbm",
    keras_network: "keras",
    torch_network: "torch",
    torchscript: "torch",
}


def skip_without_library(case: Callable[[Path], Case]) -> None:
    library = LIBRARIES.get(case, "sklearn")
    if not importlib.util.find_spec(library):
        pytest.skip(f"{library} is not installed: uv pip install --group flavours")


def check(case: Case, serve: Callable[..., Any], python: Any = None) -> None:
    model = make_model(case.obj, name="case", example=case.example, **case.wishes)
    assert model.manifest is not None
    assert model.example is not None
    assert case.stored == f"{model.manifest.flavour}/{model.manifest.format}"
    again = make_model(case.obj, name="case", example=case.example, **case.wishes)
    assert model.digest == again.digest
    with serve(model, *([python(model)] if python else [])) as client:
        response = client.post("/invocations", json={"instances": model.example})
        assert response.status_code == 200, response.text
        predictions = response.json()["predictions"]
    if isinstance(case.answer, dict):
        rows = [dict(zip(case.answer, row, strict=True)) for row in zip(*case.answer.values(), strict=True)]
        assert rows == predictions
    elif np.asarray(case.answer).dtype.kind == "f":
        np.testing.assert_allclose(np.asarray(case.answer), np.asarray(predictions), rtol=1e-5)
    else:
        assert np.asarray(case.answer).tolist() == predictions


@pytest.mark.parametrize("case", QUICK, ids=lambda case: case.__name__)
def test_object_is_served_as_it_was_packed(case: Callable[[Path], Case], serve: Any, tmp_path: Path) -> None:
    """A packed object gives over HTTP what the live one gave; packing it twice gives the same digest."""
    check(case(tmp_path), serve)


@pytest.mark.full
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Keras and PyTorch of their own making
@pytest.mark.parametrize("case", [*LIBRARIES, *EVERYWHERE], ids=lambda case: case.__name__)
def test_object_is_served_from_its_locked_environment(
    case: Callable[[Path], Case], serve: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock holds everything that the server needs for this object."""
    skip_without_library(case)
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    check(case(tmp_path), serve, lambda model: venv.environment(model.lock))


@pytest.mark.full
@pytest.mark.parametrize("half", [True, False])
def test_numbers_become_those_of_the_weights(half: bool) -> None:
    """A plain list is of 64 bits, and so are numbers in JSON."""
    torch: Any = pytest.importorskip("torch")
    layer = torch.nn.Linear(2, 1).half() if half else torch.nn.Linear(2, 1)
    model = make_model(layer, name="weights", example=[[1.0, 2.0]])
    with torch.no_grad():
        wanted = layer(torch.tensor([[0.5, 2.0]], dtype=layer.weight.dtype)).tolist()
    assert wanted == served(model, [[0.5, 2.0]])
