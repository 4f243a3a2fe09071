"""Pack a live object: run it on its example, write it, and describe its inputs and outputs."""

from __future__ import annotations

import copy
import logging
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from sdk.errors import ConfigError, MissingExtraError, PackagingError
from sdk.packaging import answers, axes, code, columns, examples, fitted, lengths, missing, portability
from sdk.packaging.flavours import flavour_of
from sdk.packaging.flavours.base import RoundTrip
from sdk.packaging.flavours.onnx import Onnx
from sdk.packaging.flavours.python import Streamed, settled
from sdk.packaging.manifest import Manifest, Signature, Tensor
from sdk.packaging.model_thread import ModelThread
from sdk.packaging.pack import Parts, publish
from sdk.packaging.usercode import running
from sdk.serving.parts import PYTHON
from sdk.util.paths import expand

if TYPE_CHECKING:
    from pathlib import Path

    from sdk.packaging.flavours.base import Flavour, Traits
    from sdk.packaging.packing import Packing

_LOG = logging.getLogger(__name__)

# Networks give meaningless answers for missing numbers, and an engine is not compared with the estimator on them.
_NOT_ASKED = frozenset({"keras", "pytorch", "onnx"})
_ARTIFACTS = "model/artifacts"
_TIMES = 10  # of the slowest call so far
_MORE_TIME = 'give it more time with answer_within="30m", or fewer rows in example='


@dataclass(frozen=True, slots=True)
class ObjectOptions:
    """The user's options for the object; see :func:`sdk.packaging.model.model`."""

    example: Any = None
    method: str | None = None
    rowwise: bool | None = None
    allow_nan: bool | None = None
    artifacts: str | Path | None = None
    engine: str | None = None
    p95_ms: float | None = None
    default: Any = msgspec.UNSET
    seconds: float | None = None


def pack_object(obj: Any, name: str, wishes: ObjectOptions, packing: Packing) -> tuple[Manifest, Path]:
    """Pack a live object; see :func:`sdk.packaging.model.model`."""
    if wishes.engine == "auto":
        return _pack_faster(obj, name, wishes, packing)
    return _pack(obj, name, _flavour(obj, wishes.engine), wishes, packing)


def _pack(obj: Any, name: str, flavour: Flavour, wishes: ObjectOptions, packing: Packing) -> tuple[Manifest, Path]:
    traits = flavour.traits(obj)
    method = _method(obj, flavour, wishes.method or traits.method)
    prepared = None if wishes.example is None else _prepared(wishes.example, flavour, traits)
    _check_columns(traits, prepared)
    shipped = code.collect(packing.get("code", ())).modules
    if wishes.artifacts is not None and flavour.name != "class":
        raise ConfigError(f"artifacts: a {flavour.name} model loads no files", hint="use a class with `load(folder)`")

    thread = ModelThread(wishes.seconds)

    def write(folder: Path) -> Parts:
        options = _copy_artifacts(wishes.artifacts, folder)
        if wishes.p95_ms is not None:
            options["p95_ms"] = wishes.p95_ms
        if flavour.name == "class":
            options["load"] = isinstance(obj, type) or wishes.artifacts is not None
        trial, live = RoundTrip(method, shipped=shipped), obj
        with portability.files_read() as read:
            if prepared is not None:
                live = _loaded(thread, obj, folder / options.get("path", "model")) if options.get("load") else obj
                trial = _ask(thread, flavour, live, trial, examples.argument(prepared))
        with running(f"{type(obj).__name__} cannot be written", operation="pack", others=(OSError,)):
            saved = flavour.save(obj, folder / "model", trial)
        if saved.needs is not None:
            portability.check(saved.needs, shipped, read, asked=prepared is not None)
        signature = _signature(_Answered(thread, flavour, live, trial, prepared), traits, wishes)
        if wishes.default is not msgspec.UNSET:
            streams = isinstance(trial.answer, Streamed)
            options["default"] = answers.default(wishes.default, signature, method, streams=streams)
        return Parts(
            name=name,
            flavour=flavour.name,
            format=saved.format,
            entry=f"model/{saved.file}",
            modules=saved.modules | columns.libraries(signature),
            signature=signature,
            method=method,
            options={**saved.options, **options},
        )

    body = None if prepared is None else examples.encode(prepared)
    with closing(thread):
        return publish(write, packing, example=body, needs=columns.absent(traits.columns))


def _pack_faster(obj: Any, name: str, wishes: ObjectOptions, packing: Packing) -> tuple[Manifest, Path]:
    """Pack for ONNX Runtime if it agrees and takes half the time, else pack the object itself; log the choice."""
    kind = type(obj).__name__
    try:
        packed = _pack(obj, name, Onnx(only_if_faster=True), wishes, packing)
    except (ConfigError, MissingExtraError, PackagingError) as reason:
        _LOG.info("engine: %s itself is served, not ONNX Runtime: %s", kind, reason)
        return _pack(obj, name, flavour_of(obj), wishes, packing)
    _LOG.info("engine: %s is served by ONNX Runtime, which takes missing numbers with allow_nan=True only", kind)
    return packed


def _flavour(obj: Any, engine: str | None) -> Flavour:
    if engine is None:
        return flavour_of(obj)
    if engine != "onnx":
        raise ConfigError(f"engine: {engine!r} is unknown", hint='use engine="onnx" or "auto", or leave it out')
    return Onnx()


def _method(obj: Any, flavour: Flavour, method: str) -> str:
    if method != "predict" and not callable(getattr(obj, method, None)):
        raise ConfigError(f"method: {type(obj).__name__} has no {method!r}", hint="name a method it has")
    if method != "predict" and flavour.name == "function":
        raise ConfigError("method: a function has none", hint="leave it out")
    return method


def _prepared(example: Any, flavour: Flavour, traits: Traits) -> Any:
    """Return the example as the server will pass it to the model."""
    example = examples.pandas_table(example)
    if traits.records and examples.is_frame(example):
        example = example.to_dict("records")
    as_it_is = traits.records or flavour.name in PYTHON
    arranged = examples.arranged(example, python=as_it_is, columns=traits.columns)
    return examples.prepare(columns.as_fitted(arranged, traits.levels))


def _check_columns(traits: Traits, prepared: Any) -> None:
    """Check that a model fitted on a table gets an example table with the same columns."""
    if prepared is None:
        fitted.check_no_categories(categories=traits.categories)
        return
    given = examples.columns(prepared)
    if given is None and traits.columns is not None and not traits.takes_arrays:
        listed = ", ".join(traits.columns[:5])
        raise ConfigError(
            f"example is no table, but the model was fitted on one ({listed}, …)", hint="give a DataFrame"
        )
    fitted.check_example(traits.columns, given)


def _copy_artifacts(artifacts: str | Path | None, folder: Path) -> dict[str, Any]:
    """Copy the files that a class loads; return the option with their path, if there are any."""
    if artifacts is None:
        return {}
    path = expand(artifacts, field="artifacts")
    target = folder / _ARTIFACTS
    code.copy_artifacts(path, target)
    return {"path": _ARTIFACTS}


def _loaded(thread: ModelThread, obj: Any, files: Path) -> Any:
    """Return the object as the server will use it: instantiated if a class, and loaded from the folder of its files."""
    name = obj.__name__ if isinstance(obj, type) else type(obj).__name__
    hint = 'give it more time with answer_within="30m"'
    with running(f"{name}() fails", operation="load"):
        make = obj if isinstance(obj, type) else partial(copy.copy, obj)
        live = thread.call(make, f"{name}()", hint=hint)
    if callable(getattr(live, "load", None)):
        gets = "it gets the folder with the files of artifacts="
        with running(f"load({files.name!r}) of {name} fails", operation="load", hint=gets):
            thread.call(lambda: settled(live.load(str(files))), f"load({files.name!r}) of {name}", hint=hint)
    return live


def _ask(thread: ModelThread, flavour: Flavour, live: Any, trial: RoundTrip, data: Any) -> RoundTrip:
    hint = "give example= rows like those it will be asked for"
    with running("the model fails on its own example", operation="predict", hint=hint):
        predict = partial(flavour.predict, live, trial.method, data)
        answer = thread.call(predict, "the model's answer to its example", hint=_MORE_TIME)
    return RoundTrip(trial.method, data, answer, trial.shipped)


@dataclass(frozen=True, slots=True)
class _Answered:
    """The answer to the example, and the means to ask for more."""

    thread: ModelThread
    flavour: Flavour
    live: Any
    trial: RoundTrip
    prepared: Any

    @property
    def rows(self) -> int:
        """The number of rows of the example."""
        return examples.row_count(self.prepared)

    @property
    def lists(self) -> bool:
        """Whether a list that the model returns holds outputs."""
        return self.flavour.name not in PYTHON

    def again(self, rows: int) -> Any:
        """Return the answer to the given number of the example's first rows."""
        with running(f"the model fails on {rows} row of its example alone", operation="predict"):
            data = examples.argument(examples.first_rows(self.prepared, rows))
            return self._predict(data, f"the model's answer to {rows} row of its example", self.thread.seconds)

    def ask(self, data: Any) -> Any:
        """Return the answer to data that the model may not be made for, on which it gets less time."""
        seconds = max(missing.SECONDS, _TIMES * self.thread.slowest_s)
        return self._predict(data, "the model's answer to a changed row of its example", seconds)

    def _predict(self, data: Any, what: str, seconds: float) -> Any:
        predict = partial(self.flavour.predict, self.live, self.trial.method, data)
        return self.thread.call(predict, what, hint=_MORE_TIME, seconds=seconds)

    def names(self) -> tuple[str, ...]:
        """Return the names of the outputs if the answer is a sequence of several."""
        return answers.output_names(self.trial.answer, self.rows, self.again, lists=self.lists)

    def parts(self, names: tuple[str, ...]) -> dict[str, Any]:
        """Return the outputs by name."""
        return answers.named(self.trial.answer, names, self.rows, self.trial.method, lists=self.lists)

    def outputs_of_row(self, names: tuple[str, ...], data: Any) -> dict[str, Any]:
        """Return the outputs by name in the answer to one row."""
        return answers.named(self.ask(data), names, 1, self.trial.method, lists=self.lists)

    def rowwise(self, found: dict[str, Any], names: tuple[str, ...], traits: Traits, wish: bool | None) -> bool:
        """Check whether rows are answered independently: as the user or the flavour says, else as the example shows.

        Raises:
            ConfigError: The user says so, but the model does not return one value per row.
        """
        if not answers.each_row(found, self.rows):
            if wish:
                what = f"rowwise=True, but the model answers {self.rows} rows with {answers.told(found)}"
                raise ConfigError(what, hint="leave rowwise= out, or return one value per row")
            return False
        known = traits.rowwise if wish is None else wish
        if known is not None or self.rows < 2:
            return bool(known)
        first = answers.named(self.again(1), names, 1, self.trial.method, lists=self.lists)
        return answers.starts_with(found, first)


def _signature(answered: _Answered, traits: Traits, wishes: ObjectOptions) -> Signature:
    flavour, prepared, trial = answered.flavour, answered.prepared, answered.trial
    if prepared is None:
        nan = traits.allow_nan if wishes.allow_nan is None else wishes.allow_nan
        rowwise = traits.rowwise if wishes.rowwise is None else wishes.rowwise
        records = traits.records or msgspec.UNSET
        return Signature(traits.inputs, columns=traits.columns, rowwise=bool(rowwise), allow_nan=nan, records=records)
    if isinstance(trial.answer, Streamed):
        return _signature_of_stream(answered, traits, wishes)
    names = answered.names()
    found = answered.parts(names)
    inputs, nan = _inputs(answered, traits, prepared, wishes.allow_nan)
    if flavour.name in axes.STATED:
        inputs = axes.widened(inputs, traits.inputs)
    outputs = answers.outputs(found, answered.rows, vary=any(-1 in one.shape[1:] for one in inputs))
    if flavour.name in lengths.ASKED:
        network = lengths.Network(partial(answered.outputs_of_row, names), prepared)
        inputs = lengths.opened(inputs, network.free())
        outputs = lengths.opened(outputs, network.varied)
    wish = axes.check_rowwise(wishes.rowwise, inputs)
    signature = Signature(
        inputs=inputs,
        outputs=outputs,
        columns=examples.columns(prepared),
        integer_columns=examples.integer_columns(prepared),
        records=examples.are_records(prepared),
        rowwise=answered.rowwise(found, names, traits, wish),
        allow_nan=nan,
    )
    answers.check(prepared, trial.answer, signature, trial.method, lists=answered.lists)
    return signature


def _signature_of_stream(answered: _Answered, traits: Traits, wishes: ObjectOptions) -> Signature:
    """Return the signature of a model that yields its answer: the items have no declared form.

    Raises:
        ConfigError: The user says that rows are independent, or an item cannot be sent.
    """
    if wishes.rowwise:
        raise ConfigError("rowwise=True, but the model yields its answer item by item", hint="leave rowwise= out")
    prepared = answered.prepared
    inputs, nan = _inputs(answered, traits, prepared, wishes.allow_nan)
    signature = Signature(
        inputs=inputs,
        columns=examples.columns(prepared),
        integer_columns=examples.integer_columns(prepared),
        records=examples.are_records(prepared),
        allow_nan=nan,
    )
    trial = answered.trial
    answers.check(prepared, [*trial.answer], signature, trial.method, lists=False)
    return signature


def _inputs(answered: _Answered, traits: Traits, prepared: Any, wish: bool | None) -> tuple[tuple[Tensor, ...], bool]:
    """Return the inputs, and whether missing values are accepted: as the user says, else as the model shows.

    Raises:
        ConfigError: The user says that the model accepts none, but the example has some.
    """
    flavour = answered.flavour
    unknown = "None" if flavour.name in {"function", "class"} else "nan"
    inputs = examples.inputs(prepared, unknown=unknown)
    if wish is False and examples.has_missing(prepared):
        raise ConfigError("allow_nan=False, but the example has missing values", hint="leave one of them out")
    if wish is not None:
        return inputs, wish
    if flavour.name in _NOT_ASKED:
        return inputs, traits.allow_nan or examples.has_missing(prepared)
    calls = missing.FEW_CALLS if flavour.name in PYTHON else missing.MOST_CALLS
    asked = missing.Asked(answered.ask, prepared, answered.trial.answer, lenient=traits.allow_nan, calls=calls)
    taken = asked.takes(inputs)
    refused = {one.name for one in inputs if missing.may_be_missing(one)} - taken if taken else frozenset[str]()
    marked = (msgspec.structs.replace(one, required=True) if one.name in refused else one for one in inputs)
    return tuple(marked), bool(taken)
