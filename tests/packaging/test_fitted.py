"""Models that were fitted on named columns and are packed without an example: rows with names are served."""

from __future__ import annotations

import json
import pickle
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import VotingClassifier
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler

from sdk.errors import ConfigError
from sdk.packaging import cbm, files, fitted, pickles
from sdk.packaging.fitted import UNKNOWN, Fitted
from sdk.packaging.flavours import flavour_of
from sdk.packaging.lock import Lock
from sdk.packaging.model import Model
from sdk.packaging.model import model as make_model
from sdk.serving import bundle
from sdk.serving.codecs import decode_instances
from sdk.serving.flavours import load
from sdk.serving.settings import ServerLimits
from tests.packaging.inside import served

if TYPE_CHECKING:
    from pathlib import Path

TABLE = pd.DataFrame({"tall": [1.0, 2, 3, 4] * 5, "b_c": [4.0, 3, 2, 2] * 5, "é": [0.0, 1, 1, 5] * 5})
LABELS = np.array([0, 1, 0, 1] * 5)
NAMES = tuple(TABLE.columns)
ASKED = TABLE.iloc[:3]


def chain(*, spaced: bool = False) -> Any:
    table = TABLE.rename(columns={"b_c": "b, c]"}) if spaced else TABLE
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(table, LABELS)


def check_served(model: Any, answer: Any) -> None:
    """Rows with names, in any order, get the answer of the live object, and pandas travels with the model."""
    assert "pandas" in Lock.of(model.path, model.manifest).versions
    read = bundle.read(model.path)
    predictor = load(read)
    rows = [{name: row[name] for name in reversed(NAMES)} for row in ASKED.to_dict("records")]
    for given in (rows, ASKED.to_numpy().tolist()):
        body = json.dumps({"instances": given}).encode()
        served = predictor(decode_instances(body, read.manifest.signature, ServerLimits()))
        found = next(iter(served.arrays.values()))
        np.testing.assert_allclose(np.ravel(answer).astype(float), np.ravel(cast("Any", found)).astype(float), 1e-5)


# --- live objects


def live_sklearn() -> tuple[Any, Any]:
    one = chain()
    return one, one.predict(ASKED)


def live_xgboost() -> tuple[Any, Any]:
    xgboost = pytest.importorskip("xgboost")
    booster = xgboost.train({}, xgboost.DMatrix(TABLE, LABELS), num_boost_round=3)
    return booster, booster.predict(xgboost.DMatrix(ASKED))


def live_lightgbm() -> tuple[Any, Any]:
    lightgbm = pytest.importorskip("lightgbm")
    settings = {"verbose": -1, "min_data_in_leaf": 1}
    booster = lightgbm.train(settings, lightgbm.Dataset(TABLE, LABELS), num_boost_round=3)
    return booster, booster.predict(ASKED)


def live_catboost() -> tuple[Any, Any]:
    catboost = pytest.importorskip("catboost")
    one = catboost.CatBoostRegressor(iterations=3, verbose=0, allow_writing_files=False).fit(TABLE, LABELS)
    return one, one.predict(ASKED)


LIVE = [live_sklearn, live_xgboost, live_lightgbm, live_catboost]


@pytest.mark.parametrize("made", LIVE)
def test_live_models_are_asked_by_name_without_an_example(made: Any) -> None:
    """The columns that a fitted object knows are found out when it is packed."""
    live, answer = made()
    model: Any = make_model(live, name="named")
    assert model.signature.columns == NAMES
    check_served(model, answer)


# --- files


def file_of_pickle(folder: Path) -> tuple[Path, Any]:
    (folder / "model.pkl").write_bytes(pickle.dumps(chain()))
    return folder / "model.pkl", chain().predict(ASKED)


def file_of_joblib(folder: Path) -> tuple[Path, Any]:
    import_module("joblib").dump(chain(), folder / "model.joblib")
    return folder / "model.joblib", chain().predict(ASKED)


def file_of_skops(folder: Path) -> tuple[Path, Any]:
    (folder / "model.skops").write_bytes(import_module("skops.io").dumps(chain()))
    return folder / "model.skops", chain().predict(ASKED)


def file_of_xgboost(folder: Path) -> tuple[Path, Any]:
    booster, answer = live_xgboost()
    booster.save_model(folder / "model.ubj")
    return folder / "model.ubj", answer


def json_of_xgboost(folder: Path) -> tuple[Path, Any]:
    booster, answer = live_xgboost()
    booster.save_model(folder / "model.json")
    return folder / "model.json", answer


def file_of_lightgbm(folder: Path) -> tuple[Path, Any]:
    booster, answer = live_lightgbm()
    booster.save_model(folder / "model.txt")
    return folder / "model.txt", answer


def pickle_of_xgboost(folder: Path) -> tuple[Path, Any]:
    one = pytest.importorskip("xgboost").XGBRegressor(n_estimators=2).fit(TABLE, LABELS)
    (folder / "model.pkl").write_bytes(pickle.dumps(one))
    return folder / "model.pkl", one.predict(ASKED)


def pickle_of_catboost(folder: Path) -> tuple[Path, Any]:
    one, answer = live_catboost()
    (folder / "model.pkl").write_bytes(pickle.dumps(one))
    return folder / "model.pkl", answer


def joblib_of_lightgbm(folder: Path) -> tuple[Path, Any]:
    settings: dict[str, Any] = {"n_estimators": 2, "min_child_samples": 1, "verbose": -1}
    one = pytest.importorskip("lightgbm").LGBMClassifier(**settings).fit(TABLE, LABELS)
    import_module("joblib").dump(one, folder / "model.joblib")
    return folder / "model.joblib", one.predict(ASKED)


BOOSTED = [
    file_of_xgboost,
    json_of_xgboost,
    file_of_lightgbm,
    pickle_of_xgboost,
    joblib_of_lightgbm,
    pickle_of_catboost,
]
FILES = [file_of_pickle, file_of_joblib, file_of_skops, *BOOSTED]


@pytest.mark.parametrize("made", FILES)
def test_files_are_asked_by_name_without_an_example(made: Any, tmp_path: Path) -> None:
    """The columns that a file names are read from its bytes; an example must have all of them."""
    path, answer = made(tmp_path)
    model: Any = Model.from_path(path, name="named", trust="pickle")
    assert model.signature.columns == NAMES
    check_served(model, answer)
    with pytest.raises(ConfigError, match="example lacks the columns tall"):
        Model.from_path(path, name="named", trust="pickle", example=TABLE[["b_c", "é"]])


@pytest.mark.parametrize("made", [file_of_joblib, file_of_skops, file_of_xgboost, file_of_lightgbm])
def test_examples_of_files_become_their_tables(made: Any, tmp_path: Path) -> None:
    """Records, columns, lists and tables in any order mean the table of the fit."""
    path, answer = made(tmp_path)
    turned = TABLE[list(reversed(NAMES))].head(2)
    forms = {
        "records": turned.to_dict("records"),
        "columns": turned.to_dict("list"),
        "lists": TABLE.head(2).to_numpy().tolist(),
        "array": TABLE.head(2).to_numpy(),
        "table": turned,
    }
    models = [Model.from_path(path, name="named", trust="pickle", example=one) for one in forms.values()]
    assert 1 == len(set(models))
    check_served(models[0], answer)
    for wrong, said in (
        ([[1.0, 2.0]], r"has 2 columns, and the model was fitted on 3 \(tall, b_c, é\)"),
        ([{"é": 1}], "lacks"),
    ):
        with pytest.raises(ConfigError, match=f"example {said}"):
            Model.from_path(path, name="named", trust="pickle", example=wrong)


def test_the_order_of_names_in_records_is_free() -> None:
    """A live object gets the columns of an example of records in the order of its fit."""
    live, answer = live_sklearn()
    turned = TABLE[list(reversed(NAMES))].head(2)
    forms = (turned.to_dict("records"), turned.to_dict("list"))
    models: list[Any] = [make_model(live, name="named", example=form) for form in forms]
    assert [NAMES, NAMES] == [one.signature.columns for one in models]
    check_served(models[0], answer)


@pytest.mark.parametrize("suffix", ["joblib", "skops"])
def test_files_fitted_on_dicts_get_records(suffix: str, tmp_path: Path) -> None:
    """With and without an example, as the live object does."""
    rows: list[dict[str, Any]] = [{"a": 1, "t": "x"}, {"a": 2, "t": "y"}]
    one = make_pipeline(DictVectorizer(), LogisticRegression()).fit(rows * 5, [0, 1] * 5)
    path = tmp_path / f"model.{suffix}"
    import_module("skops.io" if suffix == "skops" else "joblib").dump(one, path)
    for example in (None, rows[:1]):
        model: Any = Model.from_path(path, name="dicts", trust="pickle", example=example)
        assert one.predict(rows).tolist() == served(model, rows)


def columns_in(path: Path) -> Fitted:
    with pickles.opened(path) as data:
        return fitted.in_pickle(data)


def estimators() -> list[Any]:
    search = GridSearchCV(LogisticRegression(), {"C": [1.0]}, cv=2)
    split = make_column_transformer((MinMaxScaler(), ["é"]), (OneHotEncoder(), ["tall"]), (StandardScaler(), ["b_c"]))
    votes = VotingClassifier([("a", LogisticRegression()), ("b", make_pipeline(StandardScaler(), search))])
    wide = LogisticRegression().fit(pd.DataFrame(np.eye(4, 2500), columns=[f"c{n}" for n in range(2500)]), LABELS[:4])
    found = [one.fit(TABLE, LABELS) for one in (search, make_pipeline(split, LogisticRegression()), votes)]
    return [*found, chain(spaced=True), LogisticRegression().fit(TABLE[["é"]], LABELS), wide]


@pytest.mark.parametrize("place", range(6))
def test_names_in_pickles_of_every_kind(place: int, tmp_path: Path) -> None:
    """Each protocol, joblib with arrays between, and skops name the columns of the outermost estimator."""
    one = estimators()[place]
    wanted = Fitted(tuple(one.feature_names_in_))
    path = tmp_path / "model.pkl"
    for protocol in (0, 2, 3, 4, 5):
        path.write_bytes(pickle.dumps(one, protocol=protocol))
        assert wanted == columns_in(path), protocol
    for compress in (0, 3, ("gzip", 1), ("bz2", 1), ("xz", 1), ("lzma", 1)):
        import_module("joblib").dump(one, path, compress=compress)
        assert wanted == columns_in(path), compress
    import_module("skops.io").dump(one, tmp_path / "model.skops")
    assert wanted == files.recognise(tmp_path / "model.skops", "pickle").fitted


@pytest.mark.parametrize("damage", ["", "\x80\x05", "feature_names_in_", "feature_names_in_\x80", "\x80\x04]\x80\x04."])
def test_bytes_that_name_nothing(damage: str, tmp_path: Path) -> None:
    """Models of arrays, damaged and empty files name no columns, and reading them ends."""
    path = tmp_path / "model.pkl"
    data = damage.encode("latin-1")
    whole = pickle.dumps(chain())
    unnamed = pickle.dumps(LogisticRegression().fit(TABLE.to_numpy(), LABELS))
    for content in (data, unnamed + data, whole[:200] + data):
        path.write_bytes(content)
        assert Fitted() == columns_in(path)


def test_names_that_libraries_make_up_are_none(tmp_path: Path) -> None:
    """LightGBM and CatBoost number the columns of an array; those are no names, and rows stay lists."""
    lightgbm = pytest.importorskip("lightgbm")
    catboost = pytest.importorskip("catboost")
    booster = lightgbm.train({"verbose": -1}, lightgbm.Dataset(TABLE.to_numpy(), LABELS), num_boost_round=1)
    booster.save_model(tmp_path / "model.txt")
    forest = catboost.CatBoostRegressor(iterations=1, verbose=0, allow_writing_files=False)
    forest.fit(TABLE.to_numpy(), LABELS)
    assert [None, None] == [flavour_of(one).traits(one).columns for one in (booster, forest)]
    assert Fitted() == files.recognise(tmp_path / "model.txt", None).fitted


def test_arrays_stay_examples_of_models_that_take_them() -> None:
    """LightGBM answers arrays whatever it was fitted on, so an example may be one."""
    booster, _ = live_lightgbm()
    model: Any = make_model(booster, name="array", example=TABLE.to_numpy()[:2])
    assert model.signature.columns is None


def test_categories_need_an_example(tmp_path: Path) -> None:
    """Without one it is not known which columns are categories: refused when packed, live and as files."""
    lightgbm, xgboost = pytest.importorskip("lightgbm"), pytest.importorskip("xgboost")
    table = TABLE.assign(tall=pd.Categorical(["a", "b"] * 10))
    settings = {"verbose": -1, "min_data_in_leaf": 1}
    leaves = lightgbm.train(settings, lightgbm.Dataset(table, LABELS), num_boost_round=1)
    trees = xgboost.train({}, xgboost.DMatrix(table, LABELS, enable_categorical=True), num_boost_round=1)
    leaves.save_model(tmp_path / "model.txt")
    for suffix in ("ubj", "json"):
        trees.save_model(tmp_path / f"model.{suffix}")
    for one in (leaves, trees):
        with pytest.raises(ConfigError, match="was fitted on columns of categories"):
            make_model(one, name="levels")
        live: Any = make_model(one, name="levels", example=table.head())
        assert live.signature.columns == NAMES
    for path in sorted(tmp_path.glob("model.*")):
        with pytest.raises(ConfigError, match="was fitted on columns of categories"):
            Model.from_path(path, name="levels")
        with pytest.raises(ConfigError, match="was fitted on columns of categories, and the example has none"):
            Model.from_path(path, name="levels", example=table.astype({"tall": str}).head().to_dict("records"))
        filed: Any = Model.from_path(path, name="levels", example=table.head())
        assert filed.signature.columns == NAMES


@pytest.mark.parametrize("cut", [17, 25, 30, 45])
def test_cut_off_names_are_an_error(cut: int, tmp_path: Path) -> None:
    """A file of XGBoost whose names are cut off is damaged."""
    path, _ = file_of_xgboost(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"feature_names") + cut])
    with pytest.raises(ConfigError, match=r"model\.ubj is damaged"):
        Model.from_path(path, name="cut")


def test_names_of_columns_in_a_catboost_file() -> None:
    """Columns of every kind are in the order of the table; a model that is cut off is an error, never other names."""
    catboost = pytest.importorskip("catboost")
    table = TABLE.assign(zone=["a", "b"] * 10, same=1.0, note=["hi you", "bad dog"] * 10)[
        ["zone", *NAMES, "note", "same"]
    ]
    one = catboost.CatBoostClassifier(iterations=2, verbose=0, allow_writing_files=False)
    data = pickle.dumps(one.fit(table, LABELS, cat_features=["zone"], text_features=["note"]))
    assert tuple(table.columns) == cbm.names(data)
    place = data.index(b"CBM1")
    for cut in (4, 10, 40, 200):
        with pytest.raises(ValueError, match="cut off"):
            cbm.names(data[: place + cut])
    assert () == cbm.names(data[:place])


# --- hostile files


@pytest.mark.parametrize(
    "names", ['["' + "]" * 200_000, "[" * 100_000 + "]" * 9, r'["\ud800"]', '["a" ' + " " * 100_000, '["a", 1]', "[]"]
)
def test_odd_names_in_json_are_ignored(names: str) -> None:
    """Whatever stands where names should is read once, and names that no file could hold are ignored."""
    assert UNKNOWN == fitted.in_xgboost_json(f'{{"feature_names":{names}'.encode())


@pytest.mark.parametrize("tail", [b"feature_names[#L", b"feature_names[#L" + b"\x7f" * 40])
def test_odd_names_in_a_pickled_booster_are_ignored(tail: bytes, tmp_path: Path) -> None:
    """A pickle of a booster in which no names can be read has none."""
    path = tmp_path / "odd.pkl"
    path.write_bytes(b"\x80\x02cxgboost.core\nBooster\nC" + bytes([len(tail)]) + tail + b".")
    assert UNKNOWN == columns_in(path)
