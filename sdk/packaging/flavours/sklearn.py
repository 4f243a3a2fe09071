"""Pack fitted scikit-learn estimators and other objects with their interface (pipelines, LightGBM's wrappers, …)."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from sdk.errors import PackagingError
from sdk.packaging import pickling
from sdk.packaging.flavours.base import Saved, Traits, call, descends
from sdk.packaging.flavours.canonical import canonical_skops
from sdk.packaging.flavours.lightgbm import levels_of
from sdk.packaging.libraries import is_local
from sdk.packaging.manifest import Tensor

if TYPE_CHECKING:
    from pathlib import Path

    from sdk.packaging.flavours.base import RoundTrip


class Sklearn:
    """Estimators, written by skops if that round-trips with types of installed libraries only, else by cloudpickle."""

    name = "sklearn"

    def matches(self, obj: Any) -> bool:
        """Match anything that descends from scikit-learn's ``BaseEstimator``."""
        return descends(obj, "sklearn", "BaseEstimator")

    def traits(self, obj: Any, /) -> Traits:
        """Return the columns and width as fitted."""
        not_fitted = import_module("sklearn.exceptions").NotFittedError
        try:
            import_module("sklearn.utils.validation").check_is_fitted(obj)
        except not_fitted as error:
            hint = "call its fit() first"
            raise PackagingError(f"{type(obj).__name__} is not fitted", operation="pack", hint=hint) from error
        levels = levels_of(getattr(obj, "booster_", None))
        names, width = getattr(obj, "feature_names_in_", None), getattr(obj, "n_features_in_", None)
        return Traits(
            method="predict" if hasattr(obj, "predict") else "transform",
            rowwise=True,
            allow_nan=_allow_nan(obj),
            inputs=(Tensor("input", "float64", (-1, int(width))),) if names is None and width else (),
            columns=None if names is None else tuple(map(str, names)),
            categories=bool(levels),
            levels=levels,
            records=names is None and _takes_dicts(obj),
        )

    def predict(self, obj: Any, method: str, data: Any, /) -> Any:
        """Return the answer of the estimator's method."""
        return call(obj, method, data)

    def save(self, obj: Any, folder: Path, trial: RoundTrip, /) -> Saved:
        """Write skops or cloudpickle."""
        saved = self._skops(obj, folder, trial) if find_spec("skops") else None
        if saved:
            return saved
        data, needs = pickling.dump(obj, shipped=trial.shipped)
        (folder / "model.pkl").write_bytes(data)
        return Saved("cloudpickle", "model.pkl", frozenset(needs.modules | {"cloudpickle", "sklearn"}), needs=needs)

    def _skops(self, obj: Any, folder: Path, trial: RoundTrip) -> Saved | None:
        io: Any = import_module("skops.io")

        try:
            data, modules, types, _ = canonical_skops(io.dumps(obj))
            trusted = sorted(types.union(map(str, io.get_untrusted_types(data=data))))
            if any(is_local(name) or name.startswith("__main__.") for name in [*trusted, *modules]):
                return None
            if not trial.passes(self, io.loads(data, trusted=trusted)):
                return None
        except Exception:  # noqa: BLE001  cloudpickle writes what skops cannot
            return None
        (folder / "model.skops").write_bytes(data)
        return Saved(
            "skops", "model.skops", frozenset(modules | {"skops", "sklearn"}), {"trusted": trusted, "exact": True}
        )


def _takes_dicts(obj: Any) -> bool:
    """Check whether an estimator, or the first step of a pipeline, makes features from a dict for each row."""
    while steps := getattr(obj, "steps", None):
        obj = steps[0][1]
    hashes = descends(obj, "sklearn.feature_extraction", "FeatureHasher") and obj.input_type == "dict"
    return hashes or descends(obj, "sklearn.feature_extraction", "DictVectorizer")


def _allow_nan(obj: Any) -> bool:
    try:
        utils: Any = import_module("sklearn.utils")
        return bool(utils.get_tags(obj).input_tags.allow_nan)
    except (ImportError, AttributeError, TypeError):
        return False
