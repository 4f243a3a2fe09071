"""Pack XGBoost boosters and scikit-learn wrappers in XGBoost's own binary JSON."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from sdk.errors import PackagingError
from sdk.packaging.flavours.base import Saved, Traits, call, descends
from sdk.packaging.manifest import Tensor

if TYPE_CHECKING:
    from pathlib import Path

    from sdk.packaging.flavours.base import RoundTrip


class XGBoost:
    """``Booster`` and ``XGB*`` estimators; the class name is stored in ``options.class``."""

    name = "xgboost"

    def matches(self, obj: Any) -> bool:
        """Match XGBoost's own classes; a user's subclass is packed as an estimator."""
        return type(obj).__module__.partition(".")[0] == "xgboost" and descends(obj, "xgboost", "Booster", "XGBModel")

    def traits(self, obj: Any, /) -> Traits:
        """Return the columns and width as trained."""
        booster = self._booster(obj)
        names = booster.feature_names
        width = (Tensor("input", "float32", (-1, int(booster.num_features()))),)
        return Traits(
            rowwise=True,
            allow_nan=True,
            inputs=() if names else width,
            columns=tuple(names) if names else None,
            categories=_categories(booster) is not None,
            levels=_levels(booster),
        )

    def predict(self, obj: Any, method: str, data: Any, /) -> Any:
        """Return the answer; a bare booster takes XGBoost's own matrix."""
        if not self._is_booster(obj):
            return call(obj, method, data)
        xgboost: Any = import_module("xgboost")

        return call(obj, method, xgboost.DMatrix(data, enable_categorical=True))

    def save(self, obj: Any, folder: Path, trial: RoundTrip, /) -> Saved:
        """Write ``model.ubj``, and check that a copy read back answers alike."""
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


def _categories(booster: Any, **how: Any) -> Any:
    """Return XGBoost's object with the categories of a booster, or ``None`` if there are none."""
    if not hasattr(booster, "get_categories"):
        return None
    try:
        found = booster.get_categories(**how)
    except import_module("xgboost").core.XGBoostError:
        return None  # a linear booster, which has no trees to split by category
    return None if found.empty() else found


def _levels(booster: Any) -> tuple[tuple[Any, ...], ...]:
    """Return the levels of a booster's categories if XGBoost and Arrow can export them."""
    found = _categories(booster, export_to_arrow=True) if find_spec("pyarrow") else None
    listed: list[Any] = [] if found is None else [levels for _, levels in found.to_arrow() if levels is not None]
    return tuple(_whole(levels.to_pylist()) for levels in listed)


def _whole(levels: list[Any]) -> tuple[Any, ...]:
    """Return the levels unchanged; none if a text is not ASCII, which XGBoost 3.2 cuts in the wrong places."""
    return () if any(isinstance(level, str) and not level.isascii() for level in levels) else tuple(levels)
