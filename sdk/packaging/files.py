"""Pack models that are already files in a library's own format, without loading them unless the author is trusted."""

from __future__ import annotations

import os
import shutil
import zipfile
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from sdk.errors import ConfigError, MissingExtraError, SdkError
from sdk.packaging import answers, axes, code, columns, examples, fitted, lengths, missing, pickles, portability
from sdk.packaging.fitted import UNKNOWN, Fitted
from sdk.packaging.flavours.canonical import canonical_skops, read_member
from sdk.packaging.flavours.pytorch import TorchScript
from sdk.packaging.libraries import installed
from sdk.packaging.manifest import Signature, Tensor
from sdk.packaging.model_thread import ModelThread
from sdk.packaging.needs import is_own
from sdk.packaging.pack import Parts, publish
from sdk.packaging.usercode import running
from sdk.serving.columns import whole_inputs
from sdk.serving.parts import PYTHON
from sdk.util import foreign

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

    from sdk.packaging.manifest import Manifest
    from sdk.packaging.packing import Packing

_KNOWN_TYPES = {"lightgbm", "numpy", "pandas", "scipy", "sklearn", "xgboost"}
TRUST_HINT = 'if you trust its author say trust="pickle" (--trust pickle on the command line)'
PICKLES = {".pkl": "pickle", ".pickle": "pickle", ".joblib": "joblib"}


@dataclass(frozen=True, slots=True)
class FileOptions:
    """The user's statements about a model file."""

    trust: Literal["pickle"] | None
    example: Any
    method: str
    rowwise: bool | None
    allow_nan: bool


@dataclass(frozen=True, slots=True)
class FileKind:
    """The kind of a model file: flavour, format, the modules that read it and the server's options."""

    flavour: str
    format: str
    modules: frozenset[str]
    options: dict[str, Any]
    inputs: tuple[Tensor, ...] = ()
    fitted: Fitted = UNKNOWN


_BOOSTER = frozenset({"xgboost", "scipy"})
TABULAR = frozenset({"lightgbm", "sklearn", "xgboost"})


def pack_file(path: Path, name: str, about: FileOptions, packing: Packing) -> tuple[Manifest, Path]:
    """Pack a model file; see :meth:`sdk.packaging.model.Model.from_path`."""
    if not path.is_file():
        raise ConfigError(f"path: {path} is no file", hint="for a folder use Model.load or Model.from_mlflow")
    found = recognise(path, about.trust)
    _check_modules(path, found.modules, packing)
    needs = [*_needs(found, path, packing), *columns.absent(found.fitted.names)]
    if found.flavour == "torchscript":
        examples.check_no_table(examples.pandas_table(about.example), "PyTorch")
    whole = whole_inputs(found.inputs)
    given = examples.pandas_table(about.example)
    given = given if given is None else fitted.table(given, found.fitted, tabular=found.flavour in TABULAR)
    arranged = examples.arranged(given, python=found.flavour in PYTHON or found.fitted.records, whole=whole)
    prepared = None if arranged is None else examples.prepare(arranged, whole)
    signature = _signature(about, prepared, found)
    if found.flavour in lengths.ASKED and prepared is not None and about.trust and find_spec("torch"):
        signature = msgspec.structs.replace(signature, inputs=_asked(path, about.method, prepared, signature.inputs))
    modules = found.modules | columns.libraries(signature)

    def write(folder: Path) -> Parts:
        target = folder / "model" / f"model{path.suffix.lower()}"
        shutil.copyfile(path, target)
        return Parts(
            name=name,
            flavour=found.flavour,
            format=found.format,
            entry=f"model/{target.name}",
            modules=frozenset(modules),
            signature=signature,
            method=about.method,
            trust=about.trust,
            options=found.options,
        )

    body = None if prepared is None else examples.encode(prepared)
    return publish(write, packing, example=body, needs=needs)


def _check_modules(path: Path, modules: Collection[str], packing: Packing) -> None:
    """Refuse a file that refers to objects of modules of the user that are not packed.

    Raises:
        ConfigError: It refers to one, or to the program that wrote the file.
    """
    tops = {module.partition(".")[0] for module in modules}
    if found := sorted(tops & {"__main__", "__mp_main__"}):
        what = f"path: {path.name} refers to objects of {found[0]}, the program that wrote it"
        raise ConfigError(
            f"{what}, which the server does not have",
            hint="give the live object to sdk.model(), or write the file with cloudpickle",
        )
    if packing.get("requirements"):  # which may have a folder or wheel with the module
        return
    for top in sorted(tops.difference(code.collect(packing.get("code", ())).modules)):
        if is_own(top):
            raise portability.not_packed(f"path: {path.name} refers to {top}", top)


def _asked(path: Path, method: str, prepared: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return the inputs of a TorchScript file with a trusted author, with variable axes where it takes any length."""
    with running(f"path: {path.name} cannot be loaded", operation="pack"):
        module: Any = import_module("torch").jit.load(str(path), map_location="cpu").eval()

    with closing(ModelThread(missing.SECONDS)) as thread:

        def outputs(data: Any) -> dict[str, Any]:
            predict = partial(TorchScript().predict, module, method, data)
            answer = thread.call(predict, "the network's answer to a row of its example", hint="leave example= out")
            return answers.named(answer, (), 1, method, lists=True)

        return lengths.opened(inputs, lengths.Network(outputs, prepared).free())


def recognise(path: Path, trust: str | None) -> FileKind:
    """Recognise the kind of a model file by its suffix and first bytes.

    Raises:
        ConfigError: The suffix is unknown, the content does not match it, or it is a pickle without ``trust``.
    """
    if trust not in {None, "pickle"}:
        raise ConfigError(f"trust: {trust!r} is unknown", hint='the only value is trust="pickle"')
    suffix = path.suffix.lower()
    if suffix in PICKLES:
        return _pickle(path, PICKLES[suffix], trust)
    known = partial(_skops, trust=trust) if suffix == ".skops" else _KINDS.get(suffix)
    if known is None:
        known_kinds = ", ".join(sorted([*_KINDS, ".skops", *PICKLES]))
        hint = f"use one of {known_kinds}, or wrap it in a class with `load` and `predict`"
        raise ConfigError(f"path: {path.name} is of no known kind", hint=hint)
    try:
        return known(path)
    except SdkError:
        raise
    except Exception as error:  # the readers of archives and JSON raise almost anything on damaged bytes
        raise ConfigError(
            f"path: {path.name} is damaged: {error}", hint="get it again from where it was made"
        ) from error


def is_rowwise(found: FileKind, about: FileOptions, inputs: Sequence[Tensor]) -> bool:
    """Check whether rows are answered independently: as the user says, else true for trees and other estimators.

    Requests with one value for the whole request can be neither split nor joined.
    """
    wish = axes.check_rowwise(about.rowwise, inputs)
    return found.flavour in TABULAR if wish is None else wish


def _signature(about: FileOptions, prepared: Any, found: FileKind) -> Signature:
    """Return the signature: the example's with the axes that the file declares; without an example, the file's."""
    inputs = found.inputs if prepared is None else axes.inputs_of(prepared, found.inputs)
    rowwise = is_rowwise(found, about, inputs)
    if prepared is None:
        fitted.check_no_categories(categories=found.fitted.categories)
        records = found.fitted.records or msgspec.UNSET
        return Signature(
            inputs=inputs, columns=found.fitted.names, rowwise=rowwise, allow_nan=about.allow_nan, records=records
        )
    fitted.check_example(found.fitted.names, examples.columns(prepared))
    lacking = found.fitted.categories and not any(one.levels for one in inputs)
    fitted.check_no_categories(categories=lacking, example=True)
    return Signature(
        inputs=inputs,
        columns=examples.columns(prepared),
        integer_columns=examples.integer_columns(prepared),
        records=examples.are_records(prepared),
        rowwise=rowwise,
        allow_nan=about.allow_nan or examples.has_missing(prepared),
    )


def _needs(found: FileKind, path: Path, packing: Packing) -> list[str]:
    """Return requirements for libraries that are not installed here, without which the file could not be served."""
    if packing.get("requirements") or installed(found.modules):
        have = {module for module in found.modules if installed([module])}
        return [_PACKAGES[module] for module in sorted(found.modules - have) if module in _PACKAGES]
    if needed := [_PACKAGES[module] for module in sorted(found.modules) if module in _PACKAGES]:
        return needed
    raise ConfigError(
        f"path: it cannot be seen what {path.name} needs", hint="name its libraries with requirements=[…]"
    )


def _pickle(path: Path, kind: str, trust: str | None) -> FileKind:
    if trust != "pickle":
        raise ConfigError(
            f"path: {path.name} is a pickle, and loading one runs code of its author",
            hint=f"{TRUST_HINT}; better pack the live object with sdk.model()",
        )
    kind = "joblib" if pickles.is_joblib(path) else kind
    with pickles.opened(path) as data:
        modules, columns_of = pickles.modules(data), fitted.in_pickle(data)
    flavour = "sklearn" if {"sklearn", "skops"} & {module.partition(".")[0] for module in modules} else "class"
    extra = {"joblib", *pickles.packers(path)} if kind == "joblib" else set[str]()
    return FileKind(flavour, kind, frozenset(modules | extra), {}, fitted=fitted.takes_dicts(columns_of, modules))


def _head(path: Path, wanted: Callable[[bytes], bool], what: str) -> None:
    with path.open("rb") as file:
        head = file.read(64)
    if not wanted(head):
        raise ConfigError(
            f"path: {path.name} is not {what}", hint="check the file, or give it the suffix of what it is"
        )


def _onnx(path: Path) -> FileKind:
    _head(path, lambda head: head[:1] == b"\x08", "an ONNX model")
    return FileKind("onnx", "onnx", frozenset({"onnxruntime"}), {}, axes.onnx_inputs(path))


def _torchscript(path: Path) -> FileKind:
    _head(path, lambda head: head[:2] == b"PK", "a TorchScript archive")
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if not any(name.endswith("/constants.pkl") for name in names):
        raise ConfigError(
            f"path: {path.name} holds pickled weights, not TorchScript",
            hint="save torch.jit.script(module), or give the live module to sdk.model()",
        )
    return FileKind("torchscript", "torchscript", frozenset({"torch"}), {})


def _ubj(path: Path) -> FileKind:
    _head(path, lambda head: head[:1] == b"{" and b"learner" in head, "an XGBoost model")
    return FileKind(
        "xgboost", "ubj", _BOOSTER, {"class": "Booster"}, fitted=fitted.in_file(path, fitted.in_xgboost_ubj)
    )


def _json(path: Path) -> FileKind:
    _head(path, lambda head: head[:1] == b"{" and b"learner" in head, "an XGBoost model")
    return FileKind(
        "xgboost", "json", _BOOSTER, {"class": "Booster"}, fitted=fitted.in_file(path, fitted.in_xgboost_json)
    )


def _lightgbm(path: Path) -> FileKind:
    _head(path, lambda head: head.startswith(b"tree\n"), "a LightGBM model")
    return FileKind(
        "lightgbm", "txt", frozenset({"lightgbm", "scipy"}), {}, fitted=fitted.in_file(path, fitted.in_lightgbm)
    )


def _keras(path: Path) -> FileKind:
    _head(path, lambda head: head[:2] == b"PK", "a Keras archive")
    with zipfile.ZipFile(path) as archive:
        if "config.json" not in archive.namelist():
            raise ConfigError(f"path: {path.name} is not a Keras archive", hint="save it with model.save('x.keras')")
        config = foreign.parse(read_member(archive, "config.json"), "config.json")
    backend = _keras_backend()
    options = {"backend": backend}
    return FileKind("keras", "keras", frozenset({"keras", backend}), options, axes.keras_inputs(config))


def _keras_backend() -> str:
    """Return the Keras backend: from the environment, else the first one installed, else Keras' default."""
    installed_ones = [name for name in ("tensorflow", "jax", "torch") if find_spec(name)]
    return os.environ.get("KERAS_BACKEND") or next(iter(installed_ones), "tensorflow")


def _skops(path: Path, trust: str | None) -> FileKind:
    _head(path, lambda head: head[:2] == b"PK", "a skops archive")
    data = path.read_bytes()
    if not find_spec("skops"):
        raise MissingExtraError("skops files need skops", hint='pip install "mlport[sklearn]"')
    io: Any = import_module("skops.io")
    types = sorted(map(str, io.get_untrusted_types(data=data)))
    strange = [name for name in types if name.partition(".")[0] not in _KNOWN_TYPES]
    if strange and trust != "pickle":
        raise ConfigError(
            f"path: {path.name} makes objects of the type {strange[0]}, which may run code",
            hint=TRUST_HINT,
        )
    named = canonical_skops(data)
    options = {"trusted": sorted(named.types.union(types)), "exact": True}
    modules = frozenset(named.modules | {"skops", "sklearn"})
    return FileKind(
        "sklearn", "skops", modules, options, fitted=fitted.takes_dicts(fitted.in_skops(named.schema), named.types)
    )


_KINDS: dict[str, Callable[[Path], FileKind]] = {
    ".onnx": _onnx,
    ".pt": _torchscript,
    ".pth": _torchscript,
    ".ubj": _ubj,
    ".json": _json,
    ".txt": _lightgbm,
    ".keras": _keras,
}

_PACKAGES = {
    "jax": "jax",
    "tensorflow": "tensorflow",
    "joblib": "joblib",
    "keras": "keras",
    "lightgbm": "lightgbm",
    "onnxruntime": "onnxruntime",
    "scipy": "scipy",
    "skops": "skops",
    "sklearn": "scikit-learn",
    "torch": "torch",
    "xgboost": "xgboost",
}
