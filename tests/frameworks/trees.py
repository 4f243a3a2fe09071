"""Small models of libraries for tables and statistics."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tests.packaging.test_flavours import LABELS, ROWS, Case

if TYPE_CHECKING:
    from pathlib import Path

QUIET = {"iterations": 5, "verbose": 0, "allow_writing_files": False, "random_seed": 0}


def catboost(folder: Path) -> Case:
    fitted: Any = importlib.import_module("catboost").CatBoostClassifier(**QUIET).fit(ROWS, LABELS)
    answer = fitted.predict_proba(ROWS[:5])
    return Case(fitted, ROWS[:5], answer, "class/cloudpickle", {"method": "predict_proba"})


def catboost_file(folder: Path) -> Case:
    class FromFile:
        def load(self, files: str) -> None:
            from pathlib import Path

            from catboost import CatBoostRegressor

            self.model = CatBoostRegressor()
            self.model.load_model(Path(files) / "model.cbm")

        def predict(self, rows: Any) -> Any:
            return self.model.predict(rows)

    fitted: Any = importlib.import_module("catboost").CatBoostRegressor(**QUIET).fit(ROWS, ROWS[:, 0] * 2)
    fitted.save_model(folder / "model.cbm")
    wishes = {"artifacts": folder / "model.cbm"}
    return Case(FromFile, ROWS[:5], fitted.predict(ROWS[:5]), "class/cloudpickle", wishes)


def least_squares(folder: Path) -> Case:
    api: Any = importlib.import_module("statsmodels.api")
    results = api.OLS(ROWS[:, 0] + 2 * ROWS[:, 1], ROWS[:, 1:]).fit()
    return Case(results, ROWS[:5, 1:], results.predict(ROWS[:5, 1:]), "class/cloudpickle")


def formula(folder: Path) -> Case:
    pandas: Any = importlib.import_module("pandas")
    api: Any = importlib.import_module("statsmodels.formula.api")
    noise = ROWS[:, 2] > 0.3
    table = pandas.DataFrame({"age": ROWS[:, 0], "town": ["rome", "oslo", "lima"] * 20, "left": (LABELS ^ noise)})
    results = api.logit("left ~ age + C(town)", table).fit(disp=0)
    example = table[["age", "town"]][:5]
    return Case(results, example, results.predict(example).to_numpy(), "class/cloudpickle")
