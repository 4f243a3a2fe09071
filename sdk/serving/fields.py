"""Validates the values of a manifest: a bundle may be untrusted, and its values become paths and arguments.

The client validates when it reads or seals a bundle, the server before it loads one; neither uses an invalid value.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MOST_BYTES = 32 << 20
MOST_FILES = 50_000
MOST_LEVELS = 100_000
LONGEST_TEXT = 1_000
TRAIN = "train"
FLAVOURS = frozenset(
    "sklearn xgboost lightgbm keras pytorch torchscript onnx function class mlflow".split()  # noqa: SIM905  a table
)
FORMATS = frozenset("skops ubj json txt keras torchscript torch onnx cloudpickle pickle joblib mlflow".split())  # noqa: SIM905
_TRAIN_FORMATS = frozenset({"script", "cloudpickle"})

_MODEL_NAME = re.compile(r"[a-z](?:[a-z0-9]|-(?=[a-z0-9])){2,22}")
_PROGRAM_NAME = re.compile(r"[\w<][^\x00-\x1f\x7f/\\]{0,127}")
_PYTHON = re.compile(r"3\.[0-9]{1,2}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_DISTRIBUTION = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9])?")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+!_-]{0,127}")
_DTYPE = re.compile(r"[A-Za-z][A-Za-z0-9_<>\[\], /+-]{0,63}")
_BACKEND = re.compile(r"[a-z][a-z0-9.]{0,15}")
_DOTTED = re.compile(r"[\w<>\[\]]+(?:\.[\w<>\[\]]+){0,31}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_LONGEST_PATH = 1_024
_LONGEST_PART = 255
_LARGEST_FILE = 1 << 43
_MOST_TENSORS = 20_000
_MOST_AXES = 32
_MOST_INDEXES = 20
# The pandas types of which a server creates columns; any other name could refer to a class that pandas knows.
_COLUMN_TYPE = re.compile(
    r"str|object|string|category|bool|u?int\d{1,2}|float\d{1,2}|U?Int\d{1,2}|Float\d{1,2}|boolean"
    r"|(?:datetime64|timedelta64)\[(?:s|ms|us|ns)(?:, [A-Za-z0-9_+/:-]{1,64})?\]"
    r"|(?:u?int\d{1,2}|halffloat|float|double|bool|string|large_string|date32\[day\]|date64\[ms\]"
    r"|decimal(?:128|256)\(\d{1,2}, -?\d{1,2}\)"
    r"|(?:timestamp|duration)\[(?:s|ms|us|ns)(?:, tz=[A-Za-z0-9_+/:-]{1,64})?\])"
    r"\[pyarrow\]"
)
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,18}")
_MISSING = frozenset({None, "nan", "None", "NaT", "NA"})
_MOST_TRUSTED = 10_000


def fault(manifest: Any) -> str | None:
    """Return the first fault in the values of a manifest, with the field's name; ``None`` if all are valid.

    Args:
        manifest: The client's or the server's object; both have the same fields, the server's has no ``sources``.
    """
    return next((f"{field} {_shown(value)} is not {what}" for field, value, what in _faults(manifest)), None)


def is_relative(path: object) -> bool:
    """Check whether a text is a normalised path below a bundle: relative, without ``..``, in its only spelling."""
    if not isinstance(path, str) or not 0 < len(path) <= _LONGEST_PATH or _CONTROL.search(path) or "\\" in path:
        return False
    parts = path.split("/")
    plain = all(part not in {"", ".", ".."} and len(part.encode(errors="replace")) <= _LONGEST_PART for part in parts)
    return plain and PurePosixPath(path).as_posix() == path


def is_method(name: object) -> bool:
    """Check whether a text names a method that may be called on a model; ``__class__`` and the like may not."""
    return isinstance(name, str) and name.isidentifier() and not name.startswith("__") and len(name) <= 128


def is_index(url: object) -> bool:
    """Check whether a text is an address of a package index that a bundle may record: http(s), without credentials."""
    if not isinstance(url, str) or len(url) > _LONGEST_PATH or not url.isascii() or re.search(r"[\s\\'\"<>]", url):
        return False
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    plain = not (parts.username or parts.password or parts.query or parts.fragment or "@" in parts.netloc)
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and plain and port != 0


def _faults(manifest: Any) -> Iterator[tuple[str, Any, str]]:
    yield from _plain_faults(manifest)
    yield from _file_faults(manifest)
    yield from _signature_faults(manifest.signature)
    yield from _option_faults(manifest.options)
    sources = getattr(manifest, "sources", None)
    if sources is not None:
        yield from _source_faults(sources)


def _plain_faults(manifest: Any) -> Iterator[tuple[str, Any, str]]:
    training = manifest.flavour == TRAIN
    names, formats = (_PROGRAM_NAME, _TRAIN_FORMATS) if training else (_MODEL_NAME, FORMATS)
    if not names.fullmatch(manifest.name):
        yield "name", manifest.name, "the name of a model or program"
    if manifest.flavour not in FLAVOURS | {TRAIN}:
        yield "flavour", manifest.flavour, f"one of {', '.join(sorted(FLAVOURS))}; update mlport if it is newer"
    if manifest.format not in formats:
        yield "format", manifest.format, f"one of {', '.join(sorted(formats))}; update mlport if it is newer"
    if manifest.trust not in {None, "pickle"}:
        yield "trust", manifest.trust, "'pickle' or null"
    if not _PYTHON.fullmatch(manifest.python):
        yield "python", manifest.python, "a minor version such as 3.11"
    if not _SHA256.fullmatch(manifest.lock_sha256):
        yield "lock_sha256", manifest.lock_sha256, "64 hexadecimal digits"
    if not is_method(manifest.method):
        yield "method", manifest.method, "the name of a method"
    for name, version in manifest.libraries.items():
        if not (_DISTRIBUTION.fullmatch(name) and _VERSION.fullmatch(version)):
            yield "libraries", f"{name}=={version}", "a package with its exact version"


def _file_faults(manifest: Any) -> Iterator[tuple[str, Any, str]]:
    if len(manifest.files) > MOST_FILES:
        yield "files", len(manifest.files), f"a number up to {MOST_FILES:,}"
    if not is_relative(manifest.entry):
        yield "entry", manifest.entry, "a path inside the bundle"
    for name, record in manifest.files.items():
        if not is_relative(name):
            yield "files", name, "a path inside the bundle"
        if not _SHA256.fullmatch(record.sha256):
            yield f"files[{name}].sha256", record.sha256, "64 hexadecimal digits"
        if not 0 <= record.size <= _LARGEST_FILE:
            yield f"files[{name}].size", record.size, "a size"


def _signature_faults(signature: Any) -> Iterator[tuple[str, Any, str]]:
    if len(signature.inputs) + len(signature.outputs) > _MOST_TENSORS:
        yield "signature", len(signature.inputs), f"a number of tensors up to {_MOST_TENSORS:,}"
    for tensor in (*signature.inputs, *signature.outputs):
        yield from _tensor_faults(tensor)
    if sum(len(tensor.levels.values) for tensor in signature.inputs if tensor.levels) > MOST_LEVELS:
        yield "signature.levels", "all together", f"a number of levels up to {MOST_LEVELS:,}"
    whole = signature.integer_columns is True
    for name in signature.columns or ():
        if whole and not _WHOLE.fullmatch(name):
            yield "signature", name, "a whole number, as the names of all columns"
        if len(name) > LONGEST_TEXT:
            yield "signature", name, f"a column name of at most {LONGEST_TEXT:,} characters"


def _tensor_faults(tensor: Any) -> Iterator[tuple[str, Any, str]]:
    if len(tensor.name) > LONGEST_TEXT:
        yield "signature", tensor.name, f"a name of at most {LONGEST_TEXT:,} characters"
    if not _DTYPE.fullmatch(tensor.dtype):
        yield "signature", tensor.dtype, "a type of numbers or texts"
    if len(tensor.shape) > _MOST_AXES or any(not -1 <= size <= _LARGEST_FILE for size in tensor.shape):
        yield "signature", tensor.shape, "a shape"
    if tensor.column_type is not None and not _COLUMN_TYPE.fullmatch(tensor.column_type):
        yield "signature", tensor.column_type, "a type of column; update mlport if it is newer"
    if tensor.missing not in _MISSING:
        yield "signature", tensor.missing, "what stands for a missing value"
    yield from _level_faults(tensor)


def _level_faults(tensor: Any) -> Iterator[tuple[str, Any, str]]:
    levels = tensor.levels
    if (tensor.column_type == "category") != (levels is not None):
        yield "signature.levels", tensor.name, "a column of categories with its levels"
    if levels is None:
        return
    kinds: set[type] = {type(value) for value in levels.values}
    if not levels.values or len(kinds) > 1 or len(set(levels.values)) != len(levels.values):
        yield "signature.levels", tensor.name, "a column with different levels of one type"
    if not _COLUMN_TYPE.fullmatch(levels.type) or levels.type == "category":
        yield "signature.levels", levels.type, "a type of levels; update mlport if it is newer"
    if any(isinstance(value, str) and len(value) > LONGEST_TEXT for value in levels.values):
        yield "signature.levels", tensor.name, f"a column with levels of at most {LONGEST_TEXT:,} characters"


def _names_of_types(value: object) -> bool:
    if not isinstance(value, list | tuple) or len(cast("Any", value)) > _MOST_TRUSTED:
        return False
    return all(isinstance(name, str) and _DOTTED.fullmatch(name) for name in cast("Any", value))


def _public(value: object) -> bool:
    return is_method(value) and not str(value).startswith("_")


def _text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST_TEXT


def _flag(value: object) -> bool:
    return isinstance(value, bool)


def is_milliseconds(value: object) -> bool:
    """Check whether a value is a valid latency in milliseconds."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e9


def _backend(value: object) -> bool:
    return value in {"tensorflow", "jax", "torch", "numpy", "openvino"}


def _origin(value: object) -> bool:
    if not isinstance(value, dict):
        return False
    pairs: dict[Any, Any] = cast("Any", value)
    return pairs.keys() == {"program", "code_sha256"} and all(
        isinstance(one, str) and _SHA256.fullmatch(one) for one in pairs.values()
    )


def _anything(_value: object) -> bool:
    return True


_OPTIONS: dict[str, tuple[Callable[[object], bool], str]] = {
    "trusted": (_names_of_types, "a list of types"),
    "exact": (_flag, "true or false"),
    "class": (_public, "the name of a class"),
    "backend": (_backend, "a backend of Keras"),
    "load": (_flag, "true or false"),
    "path": (is_relative, "a path inside the bundle"),
    "output": (_text, "the name of an output"),
    "p95_ms": (is_milliseconds, "a number of milliseconds above 0"),
    "default": (_anything, "any JSON"),
    "trained_by": (_origin, "the hashes of a program and its code"),
}


def _option_faults(options: dict[str, Any]) -> Iterator[tuple[str, Any, str]]:
    for name, value in options.items():
        known = _OPTIONS.get(name)
        if known is None:
            yield "options", name, f"one of {', '.join(_OPTIONS)}; update mlport if it is newer"
        elif not known[0](value):
            yield f"options.{name}", value, known[1]


def _source_faults(sources: Any) -> Iterator[tuple[str, Any, str]]:
    for url in ([sources.index] if sources.index is not None else []) + list(sources.extra_indexes):
        if not is_index(url):
            yield "sources", _hidden(url), "an http(s) address without credentials"
    if len(sources.extra_indexes) > _MOST_INDEXES:
        yield "sources.extra_indexes", len(sources.extra_indexes), f"a number up to {_MOST_INDEXES}"
    if sources.torch_backend is not None and not _BACKEND.fullmatch(sources.torch_backend):
        yield "sources.torch_backend", sources.torch_backend, "a kind of builds such as cpu or cu126"


def _hidden(url: str) -> str:
    return re.sub(r"//.*@", "//…@", url.partition("?")[0])


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}…"
