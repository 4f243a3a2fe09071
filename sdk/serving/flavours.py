"""Loads the model of a bundle and calls it; each library is imported only when a model of its kind is loaded.

Two tables: `_LOADERS` by file format gives the live object, `_CALLERS` by flavour gives a function that takes the
model's input (an array, a dict of arrays, a DataFrame or a JSON value) and returns whatever the model returns.
"""

from __future__ import annotations

import importlib
import pickle
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .bundle import Bundle
from .codecs import Input
from .convert import as_array
from .failures import EXIT_LOAD, StartError
from .outputs import Outputs, normalise
from .signature import FREE, Signature

Call = Callable[[Any], Any]


class Predictor:
    """A loaded model: takes the checked input of one request, returns its outputs."""

    def __init__(self, call: Call, signature: Signature, method: str, *, takes_json: bool) -> None:
        self._call = call
        self._signature = signature
        self._method = method
        self._takes_json = takes_json
        if signature.columns is not None:
            _frame({}, [])  # pandas is slow to import: pay before the first request

    def __call__(self, given: Input) -> Outputs:
        """Predict one batch.

        Raises:
            RequestError: 500 when the model breaks its own signature; what the model raises passes through.
        """
        return normalise(self._call(self._value(given)), self._signature, self._method, given.rows)

    def _value(self, given: Input) -> Any:
        signature = self._signature
        if signature.free:
            return self._free_value(given)
        if signature.columns is not None:
            return _frame(given.tensors, signature.columns)
        if len(signature.inputs) == 1:
            return given.tensors[signature.inputs[0].name]
        return given.tensors

    def _free_value(self, given: Input) -> Any:
        if given.tensors:
            array = given.tensors.get(FREE)
            if array is None:
                return given.tensors
            return array.tolist() if self._takes_json else array
        if self._takes_json:
            return given.free
        if isinstance(given.free[0], dict):
            return _pandas().DataFrame(given.free)
        return as_array(given.free, "instances")


def load(bundle: Bundle) -> Predictor:
    """Load the model of a verified bundle.

    Raises:
        StartError: the flavour or format is unknown, or the model's own code failed; the cause is attached.
    """
    manifest = bundle.manifest
    loader = _LOADERS.get(manifest.format)
    caller = _CALLERS.get(manifest.flavour)
    if loader is None or caller is None:
        raise StartError(
            f"this server cannot load flavour {manifest.flavour!r} in format {manifest.format!r}",
            mend=f"use one of the flavours {', '.join(_CALLERS)} and formats {', '.join(_LOADERS)}, or update mlport",
            exit_code=EXIT_LOAD,
        )
    code = bundle.folder / "code"
    if code.is_dir() and str(code) not in sys.path:
        sys.path.insert(0, str(code))
    try:
        model = loader(bundle)
        call = caller(model, bundle)
        return Predictor(
            call, manifest.signature, manifest.method, takes_json=manifest.flavour in {"function", "class"}
        )
    except StartError:
        raise
    except BaseException as error:  # a model may raise anything, SystemExit included
        raise StartError(
            f"the model could not be loaded: {type(error).__name__}: {error}",
            mend="load the model with the same versions in a fresh process; the trace is in the log line above",
            exit_code=EXIT_LOAD,
        ) from error


def _frame(tensors: Mapping[str, Any], columns: list[str]) -> Any:
    if tensors and list(tensors) != columns:
        return _pandas().DataFrame(next(iter(tensors.values())), columns=columns)
    return _pandas().DataFrame(dict(tensors), columns=columns)


def _pandas() -> Any:
    return importlib.import_module("pandas")


# Loaders: format -> live object.


def _load_skops(bundle: Bundle) -> Any:
    skops = importlib.import_module("skops.io")
    return skops.load(bundle.entry, trusted=list(bundle.manifest.options.get("trusted", ())))


def _load_pickle(bundle: Bundle) -> Any:
    with bundle.entry.open("rb") as file:
        return pickle.load(file)  # noqa: S301 - its hash is in the manifest, and the manifest's digest was deployed


def _load_joblib(bundle: Bundle) -> Any:
    return importlib.import_module("joblib").load(bundle.entry)


def _load_xgboost(bundle: Bundle) -> Any:
    xgboost = importlib.import_module("xgboost")
    model = getattr(xgboost, bundle.manifest.options.get("class", "Booster"))()
    model.load_model(bundle.entry)
    return model


def _load_lightgbm(bundle: Bundle) -> Any:
    return importlib.import_module("lightgbm").Booster(model_file=str(bundle.entry))


def _load_keras(bundle: Bundle) -> Any:
    return importlib.import_module("keras").saving.load_model(bundle.entry, compile=False)


def _load_torchscript(bundle: Bundle) -> Any:
    return importlib.import_module("torch").jit.load(str(bundle.entry), map_location="cpu").eval()


def _load_torch_export(bundle: Bundle) -> Any:
    return importlib.import_module("torch").export.load(bundle.entry).module()


def _load_state_dict(bundle: Bundle) -> Any:
    """Make the module by the factory `options.factory` ("module:Class", in code/) and fill it with the weights."""
    torch = importlib.import_module("torch")
    module, _, name = bundle.manifest.options["factory"].partition(":")
    model = getattr(importlib.import_module(module), name)(**bundle.manifest.options.get("arguments", {}))
    model.load_state_dict(torch.load(bundle.entry, map_location="cpu", weights_only=True))
    return model.eval()


def _load_onnx(bundle: Bundle) -> Any:
    onnxruntime = importlib.import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(bundle.entry), options, providers=onnxruntime.get_available_providers())


def _load_mlflow(bundle: Bundle) -> Any:
    return importlib.import_module("mlflow.pyfunc").load_model(str(bundle.entry))


def _load_import(bundle: Bundle) -> Any:
    """Import `options.object` ("module:name") from code/."""
    module, _, name = bundle.manifest.options["object"].partition(":")
    return getattr(importlib.import_module(module), name)


_LOADERS: dict[str, Callable[[Bundle], Any]] = {
    "skops": _load_skops,
    "cloudpickle": _load_pickle,
    "pickle": _load_pickle,
    "joblib": _load_joblib,
    "ubj": _load_xgboost,
    "json": _load_xgboost,
    "txt": _load_lightgbm,
    "keras": _load_keras,
    "torchscript": _load_torchscript,
    "torch_export": _load_torch_export,
    "state_dict": _load_state_dict,
    "onnx": _load_onnx,
    "mlflow": _load_mlflow,
    "import": _load_import,
}


# Callers: flavour -> function of the input.


def _method(model: Any, bundle: Bundle) -> Call:
    call = getattr(model, bundle.manifest.method, None)
    if not callable(call):
        raise StartError(
            f"the model ({type(model).__name__}) has no method {bundle.manifest.method!r}",
            mend="package it again with method= set to one it has",
            exit_code=EXIT_LOAD,
        )
    return call


def _call_class(model: Any, bundle: Bundle) -> Call:
    if isinstance(model, type):
        model = model()
    if hasattr(model, "load"):
        model.load(str(bundle.folder / bundle.manifest.options.get("path", "model")))
    return _method(model, bundle)


def _call_function(model: Any, bundle: Bundle) -> Call:
    del bundle
    if not callable(model):
        raise StartError(f"the bundle's function is a {type(model).__name__}", exit_code=EXIT_LOAD)
    return model  # type: ignore[no-any-return]  # a user's function: its types are not known


def _call_xgboost(model: Any, bundle: Bundle) -> Call:
    xgboost = importlib.import_module("xgboost")
    if not isinstance(model, xgboost.Booster):
        return _method(model, bundle)

    def predict(value: Any) -> Any:
        return model.predict(xgboost.DMatrix(value))

    return predict


def _call_keras(model: Any, bundle: Bundle) -> Call:
    if bundle.manifest.method != "predict":
        return _method(model, bundle)

    def predict(value: Any) -> Any:
        return model.predict_on_batch(value)

    return predict


def _call_torch(model: Any, bundle: Bundle) -> Call:
    torch = importlib.import_module("torch")
    torch.set_num_threads(bundle.manifest.options.get("threads", 1))
    if hasattr(model, "eval"):
        model.eval()

    def tensor(array: Any) -> Any:
        return torch.from_numpy(np.require(array, requirements=["W"]))

    def predict(value: Any) -> Any:
        with torch.inference_mode():
            if isinstance(value, dict):
                return model(**{name: tensor(array) for name, array in value.items()})  # pyright: ignore[reportUnknownVariableType]
            return model(tensor(value))

    return predict


def _call_onnx(model: Any, bundle: Bundle) -> Call:
    del bundle
    inputs = [one.name for one in model.get_inputs()]
    outputs = [one.name for one in model.get_outputs()]

    def predict(value: Any) -> Any:
        feeds: Any = value if isinstance(value, dict) else {inputs[0]: value}
        return dict(zip(outputs, model.run(outputs, feeds), strict=True))

    return predict


_CALLERS: dict[str, Callable[[Any, Bundle], Call]] = {
    "sklearn": _method,
    "xgboost": _call_xgboost,
    "lightgbm": _method,
    "keras": _call_keras,
    "pytorch": _call_torch,
    "torchscript": _call_torch,
    "onnx": _call_onnx,
    "function": _call_function,
    "class": _call_class,
    "mlflow": _method,
}
