"""`engine="onnx"`: what passes the gate answers as the estimator does, and what does not is refused with numbers."""

from __future__ import annotations

import importlib
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from sdk.errors import ConfigError, PackagingError
from sdk.packaging import parity
from sdk.packaging.flavours.onnx import _check_faster
from sdk.packaging.manifest import Manifest
from sdk.packaging.model import model as make_model
from tests.packaging.inside import served

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS = np.random.default_rng(0).normal(size=(200, 4))
LABELS = (ROWS[:, 0] + ROWS[:, 1] > 0).astype(int)


# --- the gate, without any converter ------------------------------------------------------------------------------


def test_numbers_within_single_precision_pass() -> None:
    """What a float32 engine loses is allowed, more is not, and the first wrong row is shown."""
    values = np.array([1.0, 1000.0, 0.0, -3.0])
    assert 0 == parity.compare(values, values.astype("float32")[:, None] * (1 + 5e-5)).wrong
    verdict = parity.compare(values, values + np.array([0, 0, 0.1, 0]))
    assert (4, 1, [0.0, 0.1]) == (verdict.rows, verdict.wrong, list(verdict.first or ()))
    assert 0.1 == pytest.approx(verdict.largest)


def test_labels_must_agree_but_for_ties() -> None:
    """A label that differs where one class is clearly ahead is wrong; a broken tie is counted, not refused."""
    expected, found = np.array(["a", "b", "a"]), np.array(["a", "a", "b"], dtype=object)
    assert 2 == parity.compare(expected, found).wrong
    verdict = parity.compare(expected, found, np.array([True, False, True]))
    assert (1, 1, ("a", "b")) == (verdict.wrong, verdict.ties, verdict.first)


def test_another_number_of_rows_is_all_wrong() -> None:
    """An engine that answers fewer rows passes nothing."""
    assert 3 == parity.compare(np.zeros(3), np.zeros(2)).wrong


def test_missing_numbers_must_be_missing() -> None:
    """NaN agrees with NaN only."""
    assert 1 == parity.compare(np.array([np.nan, np.nan]), np.array([np.nan, 0.0])).wrong


@pytest.mark.parametrize("middle", [1.5, float("nan")])
def test_rows_are_drawn_from_their_columns(middle: float) -> None:
    """Numbers stay between the column's ends and miss where some did, whole numbers and texts are those seen."""
    pandas: Any = importlib.import_module("pandas")
    table = pandas.DataFrame({"a": [0.5, middle, 9.0], "n": [1, 5, 7], "t": ["x", "y", "x"]})
    rows = parity.rows_like(table)
    assert (["a", "n", "t"], 1000) == (list(rows.columns), len(rows))
    assert list(map(str, table.dtypes))[:2] == list(map(str, rows.dtypes))[:2]
    assert {1, 5, 7} == set(rows["n"])
    assert {"x", "y"} == set(rows["t"])
    assert np.isnan(middle) == bool(rows["a"].isna().any())
    known = rows["a"].dropna()
    assert 0.5 <= known.min() < known.max() <= 9.0
    assert known.nunique() > 100


class _Estimator:
    """Answers for a live object."""

    def __init__(self, share: float) -> None:
        self._share = share

    def predict(self, rows: Any) -> Any:
        return (rows[:, 0] > 0).astype(int)

    def predict_proba(self, rows: Any) -> Any:
        return np.stack([np.full(len(rows), self._share), np.full(len(rows), 1 - self._share)], axis=1)


def test_check_tells_how_far_apart_they_are() -> None:
    """The error has the numbers; the same difference on tied rows passes."""
    with pytest.raises(PackagingError, match=r"differs from _Estimator on 200 of 200 rows.* it answers 0 for 1"):
        parity.check(_Estimator(0.9), "predict", [np.abs(ROWS)], lambda rows: np.zeros(len(rows), dtype=int))
    parity.check(_Estimator(0.5), "predict", [np.abs(ROWS)], lambda rows: np.zeros(len(rows), dtype=int))


def test_unknown_engine_and_other_objects_are_refused() -> None:
    """Only what is known can be asked for, and only of an estimator."""
    with pytest.raises(ConfigError, match="engine: 'tensorrt' is unknown"):
        make_model(sum, name="wrong", engine="tensorrt")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="engine: a builtin_function_or_method cannot become ONNX"):
        make_model(sum, name="wrong", engine="onnx")


# --- with converter and runtime -----------------------------------------------------------------------------------


@pytest.fixture
def converter() -> None:
    """What `mlport[onnx]` brings."""
    pytest.importorskip("skl2onnx")
    pytest.importorskip("onnxruntime")


def forest() -> tuple[Any, Any, str]:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(10, random_state=0).fit(ROWS, LABELS), ROWS[:20], "predict"


def probabilities() -> tuple[Any, Any, str]:
    return forest()[0], ROWS[:20], "predict_proba"


def words() -> tuple[Any, Any, str]:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression().fit(ROWS, np.where(LABELS, "yes", "no")), ROWS[:20], "predict"


def regression() -> tuple[Any, Any, str]:
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), Ridge()).fit(ROWS, ROWS[:, 2] * 3), ROWS[:20], "predict"


def table() -> tuple[Any, Any, str]:
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    pandas: Any = importlib.import_module("pandas")
    frame = pandas.DataFrame({"age": ROWS[:, 0], "visits": np.arange(200), "town": ["rome", "oslo"] * 100})
    columns = ColumnTransformer(
        [("numbers", StandardScaler(), ["age", "visits"]), ("towns", OneHotEncoder(sparse_output=False), ["town"])]
    )
    fitted = make_pipeline(columns, LogisticRegression()).fit(frame, LABELS)
    return fitted, frame[:20], "predict"


CASES = [forest, probabilities, words, regression, table]


def check(case: Callable[[], tuple[Any, Any, str]], serve: Callable[..., Any]) -> None:
    """Served by ONNX Runtime alone, the model answers as the estimator; the lock holds no scikit-learn."""
    fitted, example, method = case()
    model = make_model(fitted, name="quick", example=example, method=method, engine="onnx")
    assert isinstance(model.manifest, Manifest)
    assert ("onnx", "onnx") == (model.manifest.flavour, model.manifest.format)
    assert "scikit-learn" not in (model.lock.versions if model.lock else {})
    assert model.digest == make_model(fitted, name="quick", example=example, method=method, engine="onnx").digest
    plain = make_model(fitted, name="plain", example=example, method=method, allow_nan=False)
    assert plain.signature == model.signature
    with serve(model) as client:
        response = client.post("/invocations", json={"instances": model.example})
        assert response.status_code == 200, response.text
    expected, found = getattr(fitted, method)(example), response.json()["predictions"]
    if expected.dtype.kind == "f":
        np.testing.assert_allclose(expected, found, rtol=1e-4, atol=1e-5)
    else:
        assert expected.tolist() == found


@pytest.mark.full
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_onnx_answers_like_the_estimator(
    converter: None, case: Callable[[], tuple[Any, Any, str]], serve: Callable[..., Any]
) -> None:
    """Labels, words, probabilities, numbers and tables come out in the form and type of the estimator."""
    check(case, serve)


@pytest.mark.full
def test_estimator_that_onnx_gets_wrong_is_refused(converter: None) -> None:
    """A step that means something else to the converter does not get through."""
    from sklearn.linear_model import LinearRegression

    class Cut(LinearRegression):  # type: ignore[misc]  # scikit-learn has no types
        def predict(self, rows: Any) -> Any:
            return np.maximum(super().predict(rows), 0)

    from skl2onnx import update_registered_converter
    from skl2onnx.common.shape_calculator import calculate_linear_regressor_output_shapes
    from skl2onnx.operator_converters.linear_regressor import convert_sklearn_linear_regressor

    update_registered_converter(
        Cut, "CutLinear", calculate_linear_regressor_output_shapes, convert_sklearn_linear_regressor
    )
    fitted = Cut().fit(ROWS, ROWS[:, 0])
    with pytest.raises(PackagingError, match=r"differs from Cut on \d+ of \d+ rows, by up to \d.*leave engine= out"):
        make_model(fitted, name="cut", example=ROWS[:20], engine="onnx")


@pytest.mark.full
@pytest.mark.parametrize(
    ("wishes", "match"),
    [({"example": None}, "example is missing"), ({"method": "decision_function"}, "has no ONNX form")],
)
def test_what_cannot_be_compared_is_refused(converter: None, wishes: dict[str, Any], match: str) -> None:
    """Without rows to compare, or for a method without an ONNX form, nothing is packed."""
    fitted, example, _ = words()
    with pytest.raises(ConfigError, match=match):
        make_model(fitted, name="wrong", engine="onnx", **{"example": example, **wishes})


@pytest.mark.full
def test_estimator_without_a_converter_is_refused(converter: None) -> None:
    """One that skl2onnx does not know is named."""
    from sklearn.base import BaseEstimator

    class Own(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
        def fit(self) -> Own:
            self.fitted_ = True
            return self

        def predict(self, rows: Any) -> Any:
            return rows[:, 0]

    with pytest.raises(PackagingError, match="engine: Own cannot be converted to ONNX"):
        make_model(Own().fit(), name="own", example=ROWS[:5], engine="onnx")


def test_auto_takes_the_estimator_where_onnx_is_impossible(caplog: pytest.LogCaptureFixture) -> None:
    """What cannot become ONNX is packed as without an engine, and a log line says why."""

    def double(rows: Any) -> Any:
        return rows * 2

    caplog.set_level("INFO", logger="sdk.packaging")
    model = make_model(double, name="double", example=ROWS[:3], engine="auto")
    assert make_model(double, name="double", example=ROWS[:3]).digest == model.digest
    assert "itself is served, not ONNX Runtime: engine: a function cannot become ONNX" in caplog.text


def test_auto_reports_a_wrong_example_once() -> None:
    """A mistake that has nothing to do with the engine ends as without one."""
    with pytest.raises(ConfigError, match="rowwise"):
        make_model(lambda rows: 1.0, name="one", example=ROWS[:3], rowwise=True, engine="auto")


def test_the_engine_must_need_half_of_the_time() -> None:
    """Just as quick is not worth another library; a row of an array and of a table are tried."""

    def slow(_row: Any) -> None:
        time.sleep(0.002)

    def quick(row: Any) -> None:
        assert 1 == len(row)

    for data in (ROWS[:3], importlib.import_module("pandas").DataFrame(ROWS[:3])):
        _check_faster(slow, quick, data)
        for estimator in (quick, slow):
            with pytest.raises(PackagingError, match=r"not twice as fast: \d+ us against \d+ us for a row"):
                _check_faster(estimator, slow, data)


@pytest.mark.full
def test_auto_takes_onnx_for_a_forest(
    converter: None, serve: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """A forest is many times quicker there, and answers as before."""
    caplog.set_level("INFO", logger="sdk.packaging")
    fitted, example, method = forest()
    model = make_model(fitted, name="auto", example=example, method=method, engine="auto")
    assert isinstance(model.manifest, Manifest)
    assert "onnx" == model.manifest.flavour
    assert "is served by ONNX Runtime" in caplog.text
    with serve(model) as client:
        response = client.post("/invocations", json={"instances": model.example})
        assert fitted.predict(example).tolist() == response.json()["predictions"]


@pytest.mark.full
def test_probabilities_are_none_below_0(converter: None) -> None:
    """Forests in single precision give some of -3e-8, of which a logarithm is NaN."""
    del converter
    labels = np.tile([0, 1], 10)
    ensemble: Any = importlib.import_module("sklearn.ensemble")
    fitted = ensemble.RandomForestClassifier(3, random_state=0).fit(labels[:, None].astype(float), labels)
    model = make_model(fitted, name="bounds", example=[[0.0], [1.0]], engine="onnx", method="predict_proba")
    found = np.asarray(served(model, [[0.0], [1.0], [0.4]]))
    assert 0 <= found.min() <= found.max() <= 1
