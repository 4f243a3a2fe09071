"""Teach skl2onnx to convert the estimators of XGBoost and LightGBM, alone and as steps of pipelines.

The converters are those of onnxmltools; skl2onnx only needs to know of them.
Source: https://onnx.ai/sklearn-onnx/auto_tutorial/plot_gexternal_xgboost.html
"""

from __future__ import annotations

import copy
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from sdk.errors import MissingExtraError

_LIBRARIES = {
    "xgboost": ("XGBoost", "xgboost.operator_converters.XGBoost", "convert_xgboost"),
    "lightgbm": ("LightGbm", "lightgbm.operator_converters.LightGbm", "convert_lightgbm"),
}
_NAMES = {
    "xgboost": ("XGBClassifier", "XGBRegressor", "XGBRFClassifier", "XGBRFRegressor"),
    "lightgbm": ("LGBMClassifier", "LGBMRegressor"),
}


def libraries_in(obj: Any) -> set[str]:
    """Return which of the two libraries an estimator, or one of its parts, belongs to."""
    parts = [obj, *(obj.get_params(deep=True).values() if hasattr(obj, "get_params") else ())]
    return {type(part).__module__.partition(".")[0] for part in parts} & _LIBRARIES.keys()


def of_table(obj: Any, data: Any) -> Any:
    """Return an estimator that takes the columns of a table one by one, as a graph does, instead of all together."""
    if not hasattr(data, "columns") or type(obj).__module__.partition(".")[0] not in _LIBRARIES:
        return obj
    if hasattr(obj, "get_booster"):  # the converter of XGBoost reads columns by number
        booster = obj.get_booster().copy()
        booster.feature_names = None
        obj = copy.copy(obj)
        obj._Booster = booster  # noqa: SLF001  # it has no public setter
    compose, pipeline = import_module("sklearn.compose"), import_module("sklearn.pipeline")
    together = compose.ColumnTransformer([("columns", "passthrough", list(data.columns))]).fit(data)
    return pipeline.Pipeline([("columns", together), ("estimator", obj)])


def target_opset() -> dict[str, int]:
    """Return the versions of ONNX's operators that the converters of onnxmltools can write."""
    return {"": import_module("skl2onnx").__max_supported_opset__, "ai.onnx.ml": 3}


def register(libraries: set[str]) -> None:
    """Register the converters of libraries.

    Raises:
        MissingExtraError: onnxmltools is not installed.
    """
    for library in sorted(libraries):
        if find_spec("onnxmltools") is None:
            raise MissingExtraError(
                f"a model of {library} as ONNX needs onnxmltools", hint='pip install "mlport[onnx]"'
            )
        _register(library)


def _register(library: str) -> None:
    registry: Any = import_module("skl2onnx")
    shapes: Any = import_module("skl2onnx.common.shape_calculator")
    prefix, module, function = _LIBRARIES[library]
    convert = getattr(import_module(f"onnxmltools.convert.{module}"), function)
    classes: Any = sys.modules[library]
    for name in _NAMES[library]:
        classifier = name.endswith("Classifier")
        shape = (
            shapes.calculate_linear_classifier_output_shapes
            if classifier
            else shapes.calculate_linear_regressor_output_shapes
        )
        options = {"nocl": [True, False], "zipmap": [True, False, "columns"]} if classifier else None
        registry.update_registered_converter(
            getattr(classes, name), f"{prefix}{name}", shape, convert, options=options, overwrite=True
        )
