"""Libraries that know categories: the real server answers each row as this process does, alone and beside others."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from sdk.dataplane import payload
from sdk.packaging.model import Model
from sdk.packaging.model import model as make_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [
    pytest.mark.full,
    pytest.mark.filterwarnings("ignore"),  # the libraries warn while they import and save
]

ROWS = 120
SHOWN = 8


def _table(*, gaps: bool = True) -> Any:
    """Categories of text, of whole numbers and with an order; the example does not show all levels."""
    pandas: Any = importlib.import_module("pandas")
    random = np.random.default_rng(7)
    towns, sizes = ["Ürümqi", "Rome", "a b", "Oslo"], ["S", "M", "L"]
    table = pandas.DataFrame({
        "town": pandas.Categorical(random.choice(towns, ROWS), categories=[*towns, "nowhere"]),
        "size": pandas.Categorical(random.choice(sizes, ROWS), categories=sizes, ordered=True),
        "code": pandas.Categorical(random.choice([300, 7, 10], ROWS)),
        "income": random.normal(size=ROWS),
    })  # fmt: skip
    if gaps:
        table.loc[::7, "town"] = None
        table.loc[::11, "income"] = None
    return table


def _labels(table: Any) -> Any:
    return ((table["town"].cat.codes + 2 * table["size"].cat.codes + (table["code"] == 7) * 3) > 3).astype(int)


def _packed(fitted: Any, table: Any, answer: Any, **how: Any) -> tuple[Model, Any, Any]:
    return make_model(fitted, name="categories", example=table[:SHOWN], **how), table, answer


def _lightgbm_fitted(table: Any) -> Any:
    classifier: Any = pytest.importorskip("lightgbm").LGBMClassifier(n_estimators=6, min_child_samples=3, verbose=-1)
    return classifier.fit(table, _labels(table))


def _xgboost_fitted(table: Any) -> Any:
    classifier: Any = pytest.importorskip("xgboost").XGBClassifier(n_estimators=6, enable_categorical=True)
    return classifier.fit(table, _labels(table))


def _lightgbm(folder: Path) -> Any:
    table = _table()
    fitted = _lightgbm_fitted(table)
    return _packed(fitted, table, fitted.predict_proba(table), method="predict_proba")


def _lightgbm_booster(folder: Path) -> Any:
    lightgbm, table = pytest.importorskip("lightgbm"), _table()
    params = {"objective": "binary", "verbose": -1, "min_data_in_leaf": 3}
    booster = lightgbm.train(params, lightgbm.Dataset(table, _labels(table)), num_boost_round=6)
    return _packed(booster, table, booster.predict(table))


def _xgboost(folder: Path) -> Any:
    table = _table()
    fitted = _xgboost_fitted(table)
    return _packed(fitted, table, fitted.predict_proba(table), method="predict_proba")


def _xgboost_trained(table: Any) -> tuple[Any, Any]:
    """A booster and its answer to the table."""
    xgboost = pytest.importorskip("xgboost")
    matrix = xgboost.DMatrix(table, _labels(table), enable_categorical=True)
    booster = xgboost.train({"objective": "binary:logistic"}, matrix, 6)
    return booster, booster.predict(matrix)


def _xgboost_booster(folder: Path) -> Any:
    table = _table()
    booster, answer = _xgboost_trained(table)
    return _packed(booster, table, answer)


def _xgboost_file(folder: Path) -> Any:
    table = _table()
    booster, answer = _xgboost_trained(table)
    booster.save_model(folder / "saved.ubj")
    model = Model.from_path(folder / "saved.ubj", name="categories", example=table[:SHOWN], allow_nan=True)
    return model, table, answer


def _lightgbm_file(folder: Path) -> Any:
    lightgbm, table = pytest.importorskip("lightgbm"), _table()
    params = {"objective": "binary", "verbose": -1, "min_data_in_leaf": 3}
    booster = lightgbm.train(params, lightgbm.Dataset(table, _labels(table)), num_boost_round=6)
    booster.save_model(folder / "saved.txt")
    model = Model.from_path(folder / "saved.txt", name="categories", example=table[:SHOWN], allow_nan=True)
    return model, table, booster.predict(table)


def _catboost(folder: Path) -> Any:
    table = _table(gaps=False)
    how = {"iterations": 6, "verbose": 0, "allow_writing_files": False, "cat_features": ["town", "size", "code"]}
    fitted: Any = pytest.importorskip("catboost").CatBoostClassifier(**how).fit(table, _labels(table))
    return _packed(fitted, table, fitted.predict_proba(table), method="predict_proba")


def _scikit_learn(folder: Path) -> Any:
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder

    table = _table()
    encoders = ((OneHotEncoder(), ["town"]), (OrdinalEncoder(), ["size", "code"]), ("passthrough", ["income"]))
    trees = HistGradientBoostingClassifier(max_iter=6, min_samples_leaf=3)
    fitted = make_pipeline(make_column_transformer(*encoders), trees).fit(table, _labels(table))
    return _packed(fitted, table, fitted.predict_proba(table), method="predict_proba")


def _scikit_learn_from_dtype(folder: Path) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    table = _table()
    trees = HistGradientBoostingClassifier(categorical_features="from_dtype", max_iter=6, min_samples_leaf=3)
    fitted = trees.fit(table, _labels(table))
    return _packed(fitted, table, fitted.predict_proba(table), method="predict_proba")


def _mlflow(folder: Path) -> Any:
    pytest.importorskip("mlflow")
    lightgbm, table = pytest.importorskip("lightgbm"), _table()
    fitted = lightgbm.LGBMRegressor(n_estimators=6, min_child_samples=3, verbose=-1).fit(table, _labels(table))
    signature = importlib.import_module("mlflow.models").infer_signature(table, fitted.predict(table))
    packages = ["mlflow-skinny", "pandas", "scikit-learn", "lightgbm", "cloudpickle"]
    save: Any = importlib.import_module("mlflow.lightgbm").save_model
    save(fitted, folder / "saved", signature=signature, pip_requirements=packages)
    how = {"trust": "pickle", "requirements": packages, "example": table[:SHOWN], "allow_nan": True}
    return Model.from_mlflow(folder / "saved", name="categories", **how), table, fitted.predict(table)


MAKERS = (
    _lightgbm, _lightgbm_booster, _lightgbm_file, _xgboost, _xgboost_booster, _xgboost_file, _catboost, _scikit_learn,
    _scikit_learn_from_dtype, _mlflow,
)  # fmt: skip


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__.strip("_"))
def test_categories_are_served_as_they_were_fitted(
    make: Callable[[Path], tuple[Model, Any, Any]], serve: Any, tmp_path: Path
) -> None:
    """The table, its first rows alone, and rows in another order; a town that was not in the table is an error."""
    model, table, answer = make(tmp_path)
    with serve(model) as client:
        np.testing.assert_allclose(np.asarray(_ask(client, table)), answer, rtol=1e-5)
        np.testing.assert_allclose(np.asarray(_ask(client, table[::-1])), answer[::-1], rtol=1e-5)
        for number in range(SHOWN):
            np.testing.assert_allclose(_ask(client, table[number : number + 1])[0], answer[number], rtol=1e-5)
        strange = table[:1].assign(town=["Atlantis"])
        (body,) = payload.bodies(strange, payload.EncodingRules(limit=10**6, missing=True))
        refused = client.post("/invocations", content=body.content, headers={"content-type": body.content_type})
        assert (400, "unknown_category") == (refused.status_code, refused.json()["error"]["code"])


def _ask(client: Any, table: Any) -> Any:
    (body,) = payload.bodies(table, payload.EncodingRules(limit=10**7, missing=True))
    response = client.post("/invocations", content=body.content, headers={"content-type": body.content_type})
    assert 200 == response.status_code, response.text
    return response.json()["predictions"]


@pytest.mark.parametrize("library", ["lightgbm", "xgboost"])
def test_a_row_written_by_hand_is_enough_of_an_example(library: str) -> None:
    """Its categories have one level each; the model knows the others, and their order."""
    pytest.importorskip("pyarrow" if library == "xgboost" else "lightgbm")
    table = _table()
    fitted = (_lightgbm_fitted if library == "lightgbm" else _xgboost_fitted)(table)
    pandas: Any = importlib.import_module("pandas")
    row = {"town": ["Rome"], "size": ["M"], "code": [7], "income": [0.5]}
    by_hand = pandas.DataFrame(row).astype(dict.fromkeys(("town", "size", "code"), "category"))
    model = make_model(fitted, name="categories", example=by_hand)
    assert model.signature is not None
    for one in model.signature.inputs[library == "xgboost" : 3]:  # it tells no text beyond ASCII
        assert one.levels is not None
        assert tuple(table[one.name].cat.categories) == one.levels.values
