"""XGBoost boosters and scikit-learn wrappers, in XGBoost's own binary JSON."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sdk.errors import PackagingError
from sdk.packaging.flavours.base import Saved, Traits, call, descends
from sdk.packaging.manifest import Tensor

if TYPE_CHECKING:
    from pathlib import Path

    from sdk.packaging.flavours.base import Trial


class XGBoost:
    """``Booster`` and ``XGB*`` estimators; the class name goes into ``options.class``."""

    name = "xgboost"

    def matches(self, obj: Any) -> bool:
        """A class of XGBoost itself; a user's subclass is an estimator like any other."""
        return type(obj).__module__.partition(".")[0] == "xgboost" and descends(obj, "xgboost", "Booster", "XGBModel")

    def traits(self, obj: Any, /) -> Traits:
        """Columns and width as trained."""
        booster = self._booster(obj)
        names = booster.feature_names
        width = (Tensor("input", "float32", (-1, int(booster.num_features()))),)
        return Traits(
            rowwise=True, allow_nan=True, inputs=() if names else width, columns=tuple(names) if names else None
        )

    def predict(self, obj: Any, method: str, data: Any, /) -> Any:
        """The answer; a bare booster wants its own matrix."""
        if not self._is_booster(obj):
            return call(obj, method, data)
        xgboost: Any = import_module("xgboost")

        return call(obj, method, xgboost.DMatrix(data, enable_categorical=True))

    def save(self, obj: Any, folder: Path, trial: Trial, /) -> Saved:
        """Write ``model.ubj``."""
        path = folder / "model.ubj"
        obj.save_model(path)
        copy = type(obj)()
        copy.load_model(path)
        if not trial.passes(self, copy):
            raise PackagingError(
                f"{type(obj).__name__} answers differently after a round trip through {path.name}",
                operation="pack",
                hint="wrap it in a class with `load` and `predict`",
            )
        modules = {"xgboost", "scipy"} if self._is_booster(obj) else {"xgboost", "scipy", "sklearn"}
        return Saved("ubj", path.name, frozenset(modules), {"class": type(obj).__name__})

    def _is_booster(self, obj: Any) -> bool:
        return type(obj).__name__ == "Booster"

    def _booster(self, obj: Any) -> Any:
        if self._is_booster(obj):
            return obj
        try:
            return obj.get_booster()
        except Exception as error:
            hint = "call its fit() first"
            raise PackagingError(f"{type(obj).__name__} is not fitted", operation="pack", hint=hint) from error
