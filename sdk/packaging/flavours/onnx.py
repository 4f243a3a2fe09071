"""Pack scikit-learn estimators for ONNX Runtime on request: far faster for forests, if the answers agree.

The estimator is converted by skl2onnx. The result must pass :mod:`sdk.packaging.parity` or nothing is packed. It has
exactly the inputs and outputs of the estimator: the same columns, one output of the same name, type and shape.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from sdk.errors import ConfigError, MissingExtraError, PackagingError
from sdk.packaging import boosted, examples, parity
from sdk.packaging.flavours.base import Saved
from sdk.packaging.flavours.sklearn import Sklearn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from sdk.packaging.flavours.base import RoundTrip, Traits

_TRIED = 10
_CLASSIFIER = {"predict": "label", "predict_proba": "probabilities"}


class Onnx:
    """An estimator that is converted to an ONNX graph."""

    name = "onnx"

    def __init__(self, *, only_if_faster: bool = False) -> None:
        """Accept an estimator always, or only if ONNX Runtime needs at most half of its time for a row."""
        self._only_if_faster = only_if_faster

    def matches(self, obj: Any) -> bool:
        """Match the same objects as scikit-learn's flavour."""
        return Sklearn().matches(obj)

    def traits(self, obj: Any, /) -> Traits:
        """Return the estimator's traits, but without missing numbers: a tree fitted on none treats them in its own way.

        Raises:
            ConfigError: The object is not an estimator.
            MissingExtraError: The converter is not installed.
        """
        if not self.matches(obj):
            raise ConfigError(f"engine: a {type(obj).__name__} cannot become ONNX", hint="leave engine= out")
        if not (find_spec("skl2onnx") and find_spec("onnxruntime")):
            raise MissingExtraError("engine='onnx' needs skl2onnx and onnxruntime", hint='pip install "mlport[onnx]"')
        boosted.register(boosted.libraries_in(obj))
        return replace(Sklearn().traits(obj), allow_nan=False)

    def predict(self, obj: Any, method: str, data: Any, /) -> Any:
        """Return the answer of the estimator itself."""
        return Sklearn().predict(obj, method, data)

    def save(self, obj: Any, folder: Path, trial: RoundTrip, /) -> Saved:
        """Convert the estimator, compare the result with it, and write it.

        Raises:
            ConfigError: The example is missing, or the method has no ONNX form.
            PackagingError: The conversion fails, or its answers differ from the estimator's; the message says how much.
        """
        if trial.data is None:
            raise ConfigError("example is missing", hint="engine='onnx' is compared with the estimator on its rows")
        graph, output = _converted(obj, trial)
        session = _session(graph)
        rows = parity.rows_like(trial.data)
        parity.check(obj, trial.method, [trial.data, rows], lambda data: _answers(session, data)[output])
        if self._only_if_faster:
            _check_faster(getattr(obj, trial.method), lambda row: _answers(session, row), trial.data)
        (folder / "model.onnx").write_bytes(graph)
        return Saved("onnx", "model.onnx", frozenset({"onnxruntime"}), {"output": output})


def _check_faster(estimator: Callable[[Any], Any], engine: Callable[[Any], Any], data: Any) -> None:
    """Refuse an engine that needs more than half of the estimator's time for one row."""
    row = data.iloc[:1] if examples.is_frame(data) else data[:1]
    own, other = _seconds(estimator, row), _seconds(engine, row)
    if other > own / 2:
        times = f"{other * 1e6:.0f} us against {own * 1e6:.0f} us for a row"
        raise PackagingError(
            f"ONNX Runtime is not twice as fast: {times}", operation="convert", hint="leave engine= out"
        )


def _seconds(call: Callable[[Any], Any], row: Any) -> float:
    """Return the time of the fastest of several calls: other load on the machine only makes calls longer."""
    found: list[float] = []
    for _ in range(_TRIED):
        began = time.perf_counter()
        call(row)
        found.append(time.perf_counter() - began)
    return min(found)


def _converted(obj: Any, trial: RoundTrip) -> tuple[bytes, str]:
    """Return the graph, and the name of the output that corresponds to the method.

    Numbers keep the example's precision if ONNX Runtime can compute in it, else they use single precision.
    """
    output = _output(obj, trial.method)
    told: Exception | None = None
    for single in (False, True):
        try:
            graph = _convert(boosted.of_table(obj, trial.data), _initial_types(trial.data, single=single), output)
            _answers(_session(graph), trial.data)
        except Exception as error:  # noqa: BLE001  converter and runtime raise almost anything about features they lack
            told = told or error
        else:
            return graph, output
    first = str(told).strip().splitlines()[0][:300] if str(told).strip() else type(told).__name__
    raise PackagingError(
        f"engine: {type(obj).__name__} cannot be converted to ONNX: {first}",
        operation="convert",
        hint="leave engine= out",
    ) from told


def _output(obj: Any, method: str) -> str:
    classifier = hasattr(obj, "classes_")
    found = _CLASSIFIER.get(method) if classifier else ("variable" if method in {"predict", "transform"} else None)
    if found is None:
        raise ConfigError(f"method: {method!r} has no ONNX form", hint="use predict or predict_proba, or no engine=")
    return found


def _convert(obj: Any, types: list[tuple[str, Any]], output: str) -> bytes:
    to_onnx: Any = import_module("skl2onnx").convert_sklearn
    options = None if output == "variable" else {"zipmap": False}
    versions = boosted.target_opset() if boosted.libraries_in(obj) else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the converter reads deprecated attributes
        made = to_onnx(obj, name="model", initial_types=types, options=options, target_opset=versions)
    graph: bytes = made.SerializeToString()
    return graph


def _initial_types(data: Any, *, single: bool) -> list[tuple[str, Any]]:
    types: Any = import_module("skl2onnx.common.data_types")

    def of(array: Any) -> Any:
        width = array.shape[1] if array.ndim > 1 else 1
        if array.dtype.kind not in "biuf":
            return types.StringTensorType([None, width])
        if array.dtype.kind in "biu":
            return types.Int64TensorType([None, width])
        double = array.dtype.itemsize == 8 and not single
        return (types.DoubleTensorType if double else types.FloatTensorType)([None, width])

    return [(name, of(array)) for name, array in _inputs(data).items()]


def _inputs(data: Any) -> Mapping[str, Any]:
    """Return the inputs by name: the columns of a table, or the single array."""
    if examples.is_frame(data):
        return {str(name): data[name].to_numpy() for name in data.columns}
    if isinstance(data, dict):
        raise ConfigError("example: an estimator takes one array or a table", hint="give no dict of arrays")
    return {"input": data}


def _session(graph: bytes) -> Any:
    runtime: Any = import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # refusals come as exceptions
    return runtime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _answers(session: Any, data: Any) -> dict[str, Any]:
    """Return the outputs of the graph by name, run as on the server."""
    serving: Any = import_module("sdk.serving.flavours")
    names = [one.name for one in session.get_outputs()]
    return dict(zip(names, session.run(names, serving.onnx_feeds(session, data)), strict=True))
