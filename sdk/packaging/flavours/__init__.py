"""Convert each kind of live object to files: one small module per library, chosen without importing the library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sdk.errors import ConfigError
from sdk.packaging.flavours.keras import Keras
from sdk.packaging.flavours.lightgbm import LightGBM
from sdk.packaging.flavours.python import PythonClass, PythonFunction
from sdk.packaging.flavours.pytorch import PyTorch, TorchScript
from sdk.packaging.flavours.sklearn import Sklearn
from sdk.packaging.flavours.xgboost import XGBoost

if TYPE_CHECKING:
    from sdk.packaging.flavours.base import Flavour

# The first match wins: XGBoost's wrappers are scikit-learn estimators too, Keras models may be PyTorch modules.
FLAVOURS: tuple[Flavour, ...] = (
    XGBoost(),
    LightGBM(),
    Keras(),
    TorchScript(),
    PyTorch(),
    Sklearn(),
    PythonClass(),
    PythonFunction(),
)


def flavour_of(obj: Any) -> Flavour:
    """Return the flavour that packs this object.

    Raises:
        ConfigError: No flavour matches the object.
    """
    for flavour in FLAVOURS:
        if flavour.matches(obj):
            return flavour
    raise ConfigError(
        f"a {type(obj).__name__} cannot be made a model",
        hint="give a fitted estimator, a network, a function, or a class with `predict`; files go to Model.from_path",
    )
