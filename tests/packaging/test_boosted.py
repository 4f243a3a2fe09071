"""XGBoost and LightGBM on ONNX Runtime: alone and inside pipelines, equal to the library, or refused with the reason.

Sources of the odd ones: github.com/onnx/onnxmltools/issues 361, 411, 499, 541, 676 and github.com/microsoft/LightGBM
(objectives and boosting types); the parity gate decides, not a list.
"""

from __future__ import annotations

import contextlib
import importlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from sdk.errors import ConfigError, MissingExtraError, PackagingError
from sdk.packaging import boosted
from sdk.packaging.model import model as make_model
from tests.packaging.inside import served

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS = np.random.default_rng(3).normal(size=(200, 4))
GAPS = np.where(np.random.default_rng(4).random(ROWS.shape) < 0.2, np.nan, ROWS)
NUMBERS = ROWS @ [1.0, -2.0, 0.5, 0.0] + 10
LABELS = np.digitize(ROWS[:, 0], [-0.5, 0.5])
WORDS = np.array(["low", "mid", "high"])[LABELS]


@pytest.fixture
def xgb() -> Any:
    return library("xgboost")


@pytest.fixture
def lgb() -> Any:
    return library("lightgbm")


def library(name: str) -> Any:
    for needed in ("skl2onnx", "onnxruntime", "onnxmltools"):
        pytest.importorskip(needed)
    return pytest.importorskip(name)


def regressor(kind: str, **wishes: Any) -> Any:
    lib = library(kind)
    return lib.XGBRegressor(n_estimators=20, **wishes) if kind == "xgboost" else lib.LGBMRegressor(
        n_estimators=20, verbose=-1, **wishes
    )  # fmt: skip


def classifier(kind: str, **wishes: Any) -> Any:
    lib = library(kind)
    return lib.XGBClassifier(n_estimators=20, **wishes) if kind == "xgboost" else lib.LGBMClassifier(
        n_estimators=20, verbose=-1, **wishes
    )  # fmt: skip


def numbers(kind: str) -> tuple[Any, Any, str, dict[str, Any]]:
    return regressor(kind).fit(ROWS, NUMBERS), ROWS[:30], "predict", {}


def single(kind: str) -> tuple[Any, Any, str, dict[str, Any]]:
    rows = ROWS.astype(np.float32)
    return regressor(kind).fit(rows, NUMBERS), rows[:30], "predict", {}


def counts(kind: str) -> tuple[Any, Any, str, dict[str, Any]]:
    objective = "count:poisson" if kind == "xgboost" else "poisson"
    return regressor(kind, objective=objective).fit(ROWS, np.abs(NUMBERS)), ROWS[:30], "predict", {}


def gaps(kind: str) -> tuple[Any, Any, str, dict[str, Any]]:
    return regressor(kind).fit(GAPS, NUMBERS), GAPS[:30], "predict", {"allow_nan": True}


def labels(kind: str) -> tuple[Any, Any, str, dict[str, Any]]:
    return classifier(kind).fit(ROWS, LABELS), ROWS[:30], "predict", {}


def probabilities(kind: str) -> tuple[Any, Any, str, dict[str, Any]]:
    return classifier(kind).fit(ROWS, LABELS), ROWS[:30], "predict_proba", {}


def two(kind: str) -> tuple[Any, Any, str, dict[str, Any]]:
    return classifier(kind).fit(ROWS, LABELS > 0), ROWS[:30], "predict_proba", {}


def table(kind: str) -> tuple[Any, Any, str, dict[str, Any]]:
    pandas: Any = importlib.import_module("pandas")
    frame = pandas.DataFrame(ROWS, columns=["a", "b", "c", "d"])
    return regressor(kind).fit(frame, NUMBERS), frame[:30], "predict", {}


CASES = [numbers, single, counts, gaps, labels, probabilities, two, table]


@pytest.mark.full
@pytest.mark.parametrize("kind", ["xgboost", "lightgbm"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_the_engine_answers_like_the_library(kind: str, case: Callable[..., Any]) -> None:
    """On every row, not only the example's; neither the library nor scikit-learn is in the lock."""
    fitted, example, method, wishes = case(kind)
    model = make_model(fitted, name="quick", example=example, method=method, engine="onnx", **wishes)
    assert model.manifest is not None
    assert ("onnx", ["onnxruntime"]) == (model.manifest.format, sorted({*model.manifest.libraries} - {"pandas"}))
    rows = {"gaps": GAPS}.get(case.__name__, ROWS)
    asked = rows if case is not table else type(example)(rows, columns=example.columns)
    sent = [[None if cell != cell else cell for cell in row] for row in rows.tolist()]  # noqa: PLR0124  NaN
    found = np.asarray(served(model, sent if case is not table else asked))
    wanted = getattr(fitted, method)(asked.astype(example.dtype) if case is single else asked)
    if wanted.dtype.kind == "f":
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    else:
        assert found.tolist() == wanted.tolist()


@pytest.mark.full
def test_words_of_lightgbm(lgb: Any) -> None:
    """Labels that are text stay text."""
    fitted = lgb.LGBMClassifier(n_estimators=10, verbose=-1).fit(ROWS, WORDS)
    model = make_model(fitted, name="quick", example=ROWS[:10], engine="onnx")
    assert served(model, ROWS) == fitted.predict(ROWS).tolist()


@pytest.mark.full
@pytest.mark.parametrize(
    ("kind", "wishes"),
    [
        ("xgboost", {"booster": "dart", "rate_drop": 0.5}),
        ("xgboost", {"booster": "gblinear"}),
        ("xgboost", {"early_stopping_rounds": 2, "n_estimators": 100}),
        ("xgboost", {"base_score": 100.0}),
        ("xgboost", {"num_parallel_tree": 3}),
        ("lightgbm", {"boosting_type": "rf", "bagging_freq": 1, "bagging_fraction": 0.5}),
        ("lightgbm", {"boosting_type": "dart"}),
        ("lightgbm", {"linear_tree": True}),
        ("lightgbm", {"objective": "mape"}),
        ("lightgbm", {"objective": "quantile"}),
    ],
)
def test_odd_ones_are_right_or_refused(kind: str, wishes: dict[str, Any]) -> None:
    """Never wrong: the reason is the converter's, or how far the answers are apart; `auto` then serves the object."""
    more = {"eval_set": [(ROWS[:50] + 1, NUMBERS[:50])], "verbose": False} if "early_stopping_rounds" in wishes else {}
    count = wishes.pop("n_estimators", 20)
    fitted = regressor(kind, **wishes).set_params(n_estimators=count).fit(ROWS, NUMBERS, **more)
    try:
        model = make_model(fitted, name="quick", example=ROWS[:20], engine="onnx")
    except PackagingError as refused:
        assert "cannot be converted" in str(refused) or "differs from" in str(refused)  # noqa: PT017
        model = make_model(fitted, name="quick", example=ROWS[:20], engine="auto")
        assert model.manifest is not None
        assert model.manifest.format != "onnx"
    np.testing.assert_allclose(served(model, ROWS), fitted.predict(ROWS), rtol=1e-4, atol=1e-5)


@pytest.mark.full
@pytest.mark.parametrize("kind", ["xgboost", "lightgbm"])
@pytest.mark.parametrize("around", ["pipeline", "calibrated", "several"])
def test_parts_of_other_estimators_are_right_or_refused(kind: str, around: str) -> None:
    """A scaler that rounds in single precision can move a row over a threshold: then the answers differ."""
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.multioutput import MultiOutputRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    made: dict[str, Callable[[], tuple[Any, str]]] = {
        "pipeline": lambda: (make_pipeline(StandardScaler(), regressor(kind)).fit(ROWS, NUMBERS), "predict"),
        "calibrated": lambda: (CalibratedClassifierCV(classifier(kind), cv=2).fit(ROWS, LABELS), "predict_proba"),
        "several": lambda: (MultiOutputRegressor(regressor(kind)).fit(ROWS, np.c_[NUMBERS, -NUMBERS]), "predict"),
    }
    fitted, method = made[around]()
    with contextlib.suppress(PackagingError):
        model = make_model(fitted, name="quick", example=ROWS[:100], method=method, engine="onnx")
        np.testing.assert_allclose(served(model, ROWS[:100]), getattr(fitted, method)(ROWS[:100]), rtol=1e-4, atol=1e-5)


@pytest.mark.full
@pytest.mark.parametrize("kind", ["xgboost", "lightgbm"])
def test_categories_are_refused_by_the_converter(kind: str) -> None:
    """It has no form for them; the library itself serves them."""
    pandas: Any = importlib.import_module("pandas")
    frame = pandas.DataFrame({"town": pandas.Categorical(["rome", "oslo"] * 100), "age": ROWS[:, 0]})
    more = {"enable_categorical": True} if kind == "xgboost" else {}
    fitted = classifier(kind, **more).fit(frame, LABELS)
    with pytest.raises(PackagingError, match="cannot be converted to ONNX"):
        make_model(fitted, name="quick", example=frame[:20], engine="onnx")


@pytest.mark.full
def test_boosters_have_no_onnx_form(xgb: Any) -> None:
    """Only estimators have; the native objects say so."""
    booster = xgb.train({}, xgb.DMatrix(ROWS, label=NUMBERS), 5)
    with pytest.raises(ConfigError, match="a Booster cannot become ONNX"):
        make_model(booster, name="quick", example=ROWS[:5], engine="onnx")


def test_the_converter_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that installs it."""
    monkeypatch.setattr(boosted, "find_spec", lambda _name: None)
    with pytest.raises(MissingExtraError, match="needs onnxmltools") as missing:
        boosted.register({"xgboost"})
    assert missing.value.hint == 'pip install "mlport[onnx]"'
