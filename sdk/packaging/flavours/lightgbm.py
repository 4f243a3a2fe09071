"""Pack LightGBM boosters in LightGBM's own text format; its scikit-learn wrappers are packed as estimators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sdk.errors import PackagingError
from sdk.packaging.flavours.base import Saved, Traits, call, descends, of_table
from sdk.packaging.manifest import Tensor

if TYPE_CHECKING:
    from pathlib import Path

    from sdk.packaging.flavours.base import RoundTrip


class LightGBM:
    """A LightGBM ``Booster``."""

    name = "lightgbm"

    def matches(self, obj: Any) -> bool:
        """Match a bare booster."""
        return descends(obj, "lightgbm", "Booster")

    def traits(self, obj: Any, /) -> Traits:
        """Return the columns and width as trained."""
        levels, names = levels_of(obj), of_table(obj.feature_name())
        return Traits(
            rowwise=True,
            allow_nan=True,
            inputs=() if names else (Tensor("input", "float64", (-1, obj.num_feature())),),
            columns=names,
            takes_arrays=True,
            categories=bool(levels),
            levels=levels,
        )

    def predict(self, obj: Any, method: str, data: Any, /) -> Any:
        """Return the booster's answer."""
        return call(obj, method, data)

    def save(self, obj: Any, folder: Path, trial: RoundTrip, /) -> Saved:
        """Write ``model.txt``, and check that a copy read back answers alike."""
        path = folder / "model.txt"
        obj.save_model(str(path))
        if not trial.passes(self, type(obj)(model_file=str(path))):
            raise PackagingError(
                "the booster answers differently after a round trip through model.txt",
                operation="pack",
                hint="wrap it in a class with `load` and `predict`",
            )
        return Saved("txt", path.name, frozenset({"lightgbm", "scipy"}))


def levels_of(booster: Any) -> tuple[tuple[Any, ...], ...]:
    """Return the levels of the categories that a booster was fitted with; none if the object is not a booster."""
    return tuple(map(tuple, getattr(booster, "pandas_categorical", None) or ()))
