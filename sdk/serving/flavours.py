"""Loads the model of a bundle and calls it; a library is imported only when a model needs it.

There are two tables. `_LOADERS` maps a file format to a loader of the live object. `_CALLERS` maps a flavour to a
function that takes the model's input (an array, a dict of arrays, a DataFrame or a JSON value) and returns the model's
raw result.
"""

from __future__ import annotations

import importlib
import os
import pickle
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from .awaited import settled
from .convert import as_array
from .failures import EXIT_LOAD, StartError, bad_input
from .outputs import Outputs, normalise
from .parts import PYTHON, as_scalars, by_name, is_stream
from .signature import FREE, ServedSignature, table_rows
from .tables import guessed, marked, pandas, table

if TYPE_CHECKING:
    from .bundle import Bundle
    from .codecs import Input

Call = Callable[..., Any]
_NUMERIC = {"xgboost", "lightgbm"}  # libraries whose models do not take text


class Predictor:
    """A loaded model, which maps the checked input of a request to its outputs."""

    def __init__(
        self,
        call: Call,
        signature: ServedSignature,
        method: str,
        *,
        takes_json: bool,
        numeric: bool = False,
        lists: bool = False,
    ) -> None:
        self._call = call
        self._signature = signature
        self._method = method
        self._takes_json = takes_json
        self._numeric = numeric
        self._lists = lists
        if signature.columns is not None:
            pandas()  # slow to import: pay before the first request

    def __call__(self, given: Input) -> Outputs:
        """Predict one batch.

        Raises:
            RequestError: 500 if the model violates its own signature; exceptions of the model itself pass through.
        """
        answer = settled(self._call(self._value(given)))
        if not self._lists and is_stream(answer):
            return Outputs(items=answer)
        return normalise(answer, self._signature, self._method, given.rows, lists=self._lists)

    def _value(self, given: Input) -> Any:
        signature = self._signature
        if signature.free:
            return self._free_value(given, signature.columns)
        if signature.columns is not None:
            if not signature.per_column:
                return self._untyped(given)
            return table(given.tensors, signature.inputs, integer_columns=signature.integer_columns)
        tensors = {one.name: marked(one, given.tensors[one.name]) for one in signature.inputs}
        value = next(iter(tensors.values())) if len(tensors) == 1 else tensors
        return as_scalars(value) if self._takes_json and signature.whole else value

    def _untyped(self, given: Input) -> Any:
        """Return the input as a table of which only the column names are known."""
        columns = self._signature.columns or []
        if not given.tensors:
            return guessed(table_rows(given.free, columns), columns, numeric=self._numeric)
        return _frame(given.tensors, columns)

    def _free_value(self, given: Input, columns: list[str] | None) -> Any:
        if columns is not None:
            return self._untyped(given)
        if given.tensors:
            array = given.tensors.get(FREE, given.tensors)
            return array.tolist() if self._takes_json and isinstance(array, np.ndarray) else array
        if self._takes_json:
            return given.free
        return _named_rows(given.free) if isinstance(given.free[0], dict) else as_array(given.free, FREE)


def _named_rows(rows: list[Any]) -> Any:
    """Return rows with names as a table, for a model without any signature."""
    try:
        library = pandas()
    except ModuleNotFoundError:
        message = "rows with names need pandas, which the requirements of this model lack; send each row as a list"
        raise bad_input("no_pandas", f"{message}, or pack the model with an example", "instances[0]") from None
    return library.DataFrame(rows)


def load(bundle: Bundle) -> Predictor:
    """Load the model of a verified bundle.

    Raises:
        StartError: the flavour or format is unknown, or the model's own code failed (its exception is the cause).
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
            call,
            manifest.signature,
            manifest.method,
            takes_json=manifest.flavour in {"function", "class"} or manifest.signature.records,
            numeric=type(model).__module__.partition(".")[0] in _NUMERIC,
            lists=manifest.flavour not in PYTHON,
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
    if tensors and set(tensors) != set(columns):
        array = next(iter(tensors.values()))
        if array.ndim != 2 or array.shape[1] != len(columns):
            raise bad_input("bad_shape", f"the input must have shape [rows, {len(columns)}], got {list(array.shape)}")
        return pandas().DataFrame(array, columns=columns)
    return pandas().DataFrame(dict(tensors), columns=columns)


# Loaders: format -> live object.


def _load_skops(bundle: Bundle) -> Any:
    options = bundle.manifest.options
    trusted = [str(name) for name in options.get("trusted", ())]
    plain = all(name.partition(".")[0] in {"sklearn", "scipy", "numpy"} for name in trusted)
    spare = plain and options.get("exact") and "skops" not in sys.modules
    with _spared_search() if spare else nullcontext():
        return importlib.import_module("skops.io").load(bundle.entry, trusted=trusted)


@contextmanager
def _spared_search() -> Generator[None]:
    """Import skops without importing all of scikit-learn, which takes a quarter of the time until a model is ready.

    skops looks up all estimators, since it trusts those by default; a bundle with `exact` lists every type of its file
    in `trusted`. Other code never sees this incomplete skops: the next import creates a complete one.
    """
    utils: Any = importlib.import_module("sklearn.utils")
    search = utils.all_estimators
    utils.all_estimators = list
    try:
        yield
    finally:
        utils.all_estimators = search
        for name in [name for name in sys.modules if name.partition(".")[0] == "skops"]:
            del sys.modules[name]


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
    backend = bundle.manifest.options.get("backend")
    if backend:
        os.environ["KERAS_BACKEND"] = str(backend)
    return importlib.import_module("keras").saving.load_model(bundle.entry, compile=False, safe_mode=True)


def _load_torchscript(bundle: Bundle) -> Any:
    return importlib.import_module("torch").jit.load(str(bundle.entry), map_location="cpu").eval()


def _load_torch(bundle: Bundle) -> Any:
    torch = importlib.import_module("torch")
    # The whole module with its code: a pickle, covered by the manifest like any other.
    return torch.load(bundle.entry, map_location="cpu", weights_only=False)


def _load_onnx(bundle: Bundle) -> Any:
    onnxruntime = importlib.import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(bundle.entry), options, providers=onnxruntime.get_available_providers())


def _load_mlflow(bundle: Bundle) -> Any:
    model = importlib.import_module("mlflow.pyfunc").load_model(str(bundle.entry))
    if any(one.column_type for one in bundle.manifest.signature.inputs):
        model.metadata.signature = None  # MLflow would refuse categories and time zones of the example
    return model


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
    "torch": _load_torch,
    "onnx": _load_onnx,
    "mlflow": _load_mlflow,
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
    return cast("Call", call)


def _call_class(model: Any, bundle: Bundle) -> Call:
    if isinstance(model, type):
        model = model()
    if bundle.manifest.options.get("load", True) and hasattr(model, "load"):
        settled(model.load(str(bundle.folder / bundle.manifest.options.get("path", "model"))))
    return _method(model, bundle)


def _call_function(model: Any, bundle: Bundle) -> Call:
    del bundle
    if not callable(model):
        raise StartError(f"the bundle's function is a {type(model).__name__}", exit_code=EXIT_LOAD)
    return cast("Call", model)


def _call_xgboost(model: Any, bundle: Bundle) -> Call:
    xgboost = importlib.import_module("xgboost")
    if not isinstance(model, xgboost.Booster):
        return _method(model, bundle)

    def predict(value: Any) -> Any:
        return model.predict(xgboost.DMatrix(value, enable_categorical=True))

    return predict


def _call_keras(model: Any, bundle: Bundle) -> Call:
    if bundle.manifest.method != "predict":
        return _method(model, bundle)

    def predict(value: Any) -> Any:
        return by_name(model.predict_on_batch(value), getattr(model, "output_names", None))

    return predict


def _call_torch(model: Any, bundle: Bundle) -> Call:
    torch = importlib.import_module("torch")
    method = bundle.manifest.method
    run: Call = model.eval() if method in {"predict", "forward"} else _method(model.eval(), bundle)
    weight = next(model.parameters(), None)

    def tensor(array: Any) -> Any:
        one = torch.from_numpy(np.require(array, requirements=["W"]))
        if weight is None:
            return one
        return one.to(weight.device, weight.dtype if one.is_floating_point() else one.dtype)

    def predict(value: Any) -> Any:
        with torch.inference_mode():
            if isinstance(value, dict):
                named = cast("dict[str, Any]", value)
                return run(**{name: tensor(array) for name, array in named.items()})
            return run(tensor(value))

    return predict


_ONNX_DTYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}


def _call_onnx(model: Any, bundle: Bundle) -> Call:
    outputs = [one.name for one in model.get_outputs()]
    chosen = bundle.manifest.options.get("output")
    declared = next(iter(bundle.manifest.signature.outputs), None)

    def predict(value: Any) -> Any:
        named = dict(zip(outputs, model.run(outputs, onnx_feeds(model, value)), strict=True))
        if chosen == "probabilities":
            named[chosen] = np.clip(named[chosen], 0, 1)  # single precision rounding can leave values just outside
        return _by_row(named) if chosen is None else _as_declared(named[chosen], declared)

    return predict


def _by_row(named: dict[str, Any]) -> Any:
    """Return one object per row if an output is a list of maps (ZipMap's probabilities), else the outputs as given."""
    if not any(map(_is_maps, named.values())) or len({len(value) for value in named.values()}) > 1:
        return named
    return [dict(zip(named, row, strict=True)) for row in zip(*named.values(), strict=True)]


def _is_maps(value: Any) -> bool:
    if not isinstance(value, list):
        return False
    rows: list[Any] = [*value]
    return all(isinstance(one, dict) for one in rows)


def onnx_feeds(session: Any, value: Any) -> dict[str, Any]:
    """Return the inputs of a session from an array, arrays by name, or a table whose columns are the inputs."""
    wanted = {one.name: one for one in session.get_inputs()}
    if hasattr(value, "columns"):
        given = {str(name): value[name].to_numpy() for name in value.columns}
    elif isinstance(value, dict):
        given = cast("dict[str, Any]", value)
    else:
        given = {next(iter(wanted)): value}
    return {name: _fitted(array, wanted[name]) for name, array in given.items()}


def _fitted(array: Any, wanted: Any) -> Any:
    """Convert an array to the type and axes of an input: JSON types differ, columns lack the second axis.

    ONNX Runtime does not convert any of this.
    """
    dtype: Any = _ONNX_DTYPES.get(wanted.type)
    if wanted.type == "tensor(int64)" and array.dtype.kind in "biu":
        dtype = np.int64
    elif wanted.type == "tensor(string)":
        dtype = np.object_
    typed = array if dtype is None else array.astype(dtype, copy=False)
    return typed.reshape(-1, 1) if typed.ndim == 1 and len(wanted.shape) == 2 else typed


def _as_declared(array: Any, declared: Any) -> Any:
    """Convert the output of a model that was exported from another library to the declared type and shape."""
    if declared is None:
        return array
    typed = array if declared.dtype == "string" else array.astype(declared.dtype, copy=False)
    return typed.reshape(len(typed), *declared.shape[1:])


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
