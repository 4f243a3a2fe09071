"""Read the columns that a model was fitted on from the bytes of its file, without loading it in a library.

These files hold only column names: the column types are known only from an example. So a model that was fitted on
columns of categories needs an example: without it, the categories of a request could not be reconstructed.
"""

from __future__ import annotations

import json
import re
import struct
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from sdk.errors import ConfigError
from sdk.packaging import cbm, columns, examples, pickles
from sdk.packaging.flavours.base import of_table

if TYPE_CHECKING:
    import mmap
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

Names = tuple[str, ...]
_ATTRIBUTE = b"feature_names_in_"  # an attribute of estimators that follow scikit-learn's conventions
_NEAR = 2048  # bytes between the attribute and its value in a joblib file
_UBJ_NAMES = b"feature_names[#L"
_UBJ_CATEGORIES = re.compile(rb"feature_segments\[\$l#L(?!\0{8})")  # a count that is not zero
_JSON_NAMES = re.compile(rb'"feature_names":\s*+(\[\s*+(?:"(?:[^"\\]++|\\.)*+"\s*+,?+\s*+)*+\])')
_JSON_CATEGORIES = re.compile(rb'"feature_segments":\s*\[\s*[0-9]')
_TREE_NAMES = re.compile(rb"^feature_names=(.*)$", re.MULTILINE)
_TREE_CATEGORIES = re.compile(rb"^pandas_categorical:\s*\[\s*\[", re.MULTILINE)
_DICTS = re.compile(r"sklearn\.feature_extraction\._(dict_vectorizer|hash)\b")
_ENDS = {"TUPLE", "BUILD", "STOP"}


class Fitted(NamedTuple):
    """The columns of the table that a model was fitted on, if any, and whether some of them are categories.

    ``records`` is whether it was fitted on dicts instead, one for each row.
    """

    names: Names | None = None
    categories: bool = False
    records: bool = False


UNKNOWN = Fitted()


def check_no_categories(*, categories: bool, example: bool = False) -> None:
    """Refuse a model that was fitted on categories if there is no example, or one without categories.

    Raises:
        ConfigError: The model was fitted on categories.
    """
    if categories:
        why = "the example has none" if example else "without an example it is not known which they are"
        raise ConfigError(
            f"the model was fitted on columns of categories, and {why}",
            hint="give example= rows of the training table, such as df.head()",
        )


def table(example: Any, found: Fitted, *, tabular: bool) -> Any:
    """Return an example as a table in the order of the fit, if the model was fitted on one; anything else unchanged.

    Args:
        example: The example as the user gave it, but not a table of another library.
        found: The columns that the model's file names.
        tabular: Whether the model is one of a library that takes tables, but no dicts of columns.

    Raises:
        ConfigError: The rows have another number of columns, or pandas is not installed.
    """
    named = examples.is_named(example) or examples.is_records(example)
    given: Any = example
    if examples.is_frame(example):
        return columns.in_order(example, found.names or ())
    if named and (found.records or not (found.names or tabular)):
        return given
    listed = isinstance(example, list | tuple) or (hasattr(example, "__array__") and not hasattr(example, "detach"))
    if not named and (not found.names or not listed):
        return given
    if find_spec("pandas") is None:
        raise ConfigError(
            "example: the model was fitted on a table, and making one needs pandas", hint="pip install pandas"
        )
    if named:
        return examples.arranged(example, python=False, columns=found.names or ())
    return _with_names(example, found.names or ())


def _with_names(rows: Any, names: Names) -> Any:
    """Return rows of values without names as a table with these columns."""
    made: Any = import_module("pandas").DataFrame(rows)
    if made.shape[1] != len(names):
        listed = f"{', '.join(names[:5])}{', …' if len(names) > 5 else ''}"
        raise ConfigError(
            f"example has {made.shape[1]} columns, and the model was fitted on {len(names)} ({listed})",
            hint="give rows of the table it was fitted on",
        )
    return made.set_axis(list(names), axis=1)


def check_example(names: Sequence[str] | None, given: Sequence[str] | None) -> None:
    """Refuse an example table that lacks columns which the file names.

    Raises:
        ConfigError: The example lacks columns.
    """
    if names is None or given is None:
        return
    rewritten = {name.replace(" ", "_") for name in given}  # LightGBM replaces spaces in names like this
    if missing := sorted(set(names) - rewritten.union(given)):
        raise ConfigError(
            f"example lacks the columns {', '.join(missing)}", hint="give rows of the table it was fitted on"
        )


def in_xgboost_json(data: bytes | mmap.mmap) -> Fitted:
    """Read the columns from XGBoost's JSON."""
    found = _JSON_NAMES.search(data)
    try:
        names = _all_text(json.loads(found[1])) if found else None
    except ValueError:
        return UNKNOWN
    return Fitted(names, names is not None and _JSON_CATEGORIES.search(data) is not None)


def in_xgboost_ubj(data: bytes | mmap.mmap) -> Fitted:
    """Read the columns from XGBoost's binary JSON."""
    place = data.find(_UBJ_NAMES)
    names = tuple(_ubj_texts(data, place + len(_UBJ_NAMES))) if place >= 0 else ()
    return Fitted(names, _UBJ_CATEGORIES.search(data) is not None) if names else UNKNOWN


def _ubj_texts(data: bytes | mmap.mmap, place: int) -> Iterator[str]:
    """Iterate over the texts of an array, which starts with their number; each length takes eight bytes."""

    def size(at: int) -> int:
        if len(data) < at + 8:
            raise ValueError("it is cut off")
        return int(struct.unpack_from(">q", data, at)[0])

    count, place = size(place), place + 8
    for _ in range(count):
        length = size(place + 2)
        start, place = place + 10, place + 10 + length
        if data[start - 10 : start - 8] != b"SL" or length < 0 or place > len(data):
            raise ValueError("its names of columns are cut off")
        yield data[start:place].decode()


def in_lightgbm(data: bytes | mmap.mmap) -> Fitted:
    """Read the columns from LightGBM's text, where spaces in names became underscores; none if fitted on an array."""
    found = _TREE_NAMES.search(data)
    names = () if found is None else tuple(found[1].decode().split(" "))
    return Fitted(of_table(names), _TREE_CATEGORIES.search(data) is not None)


def takes_dicts(found: Fitted, types: Iterable[str]) -> Fitted:
    """Return what was found, with ``records`` if the file has a type of scikit-learn that is fitted on dicts.

    A type may be given as its module or with its name.
    """
    return found._replace(records=found.names is None and any(map(_DICTS.match, types)))


def in_skops(schema: Any) -> Fitted:
    """Read the columns from the schema of a skops file: of its object, or of the first step of a pipeline."""
    for _ in range(50):
        about = _at(schema, "content", "content")
        if names := _at(about, _ATTRIBUTE.decode(), "content"):
            return Fitted(_all_text([json.loads(_at(one, "content") or "0") for one in names]))
        steps = _at(about, "steps", "content")
        schema = _at(steps[0], "content")[1] if isinstance(steps, list) and steps else None
    return UNKNOWN


def _at(node: Any, *keys: str) -> Any:
    for key in keys:
        node = cast("Mapping[str, Any]", node).get(key) if isinstance(node, dict) else None
    return node


def _all_text(values: Any) -> Names | None:
    """Return the column names; ``None`` if the value is not a list of texts that UTF-8 can hold."""
    listed: list[Any] = values if isinstance(values, list) else []  # pyright: ignore[reportUnknownVariableType] - JSON
    if not listed or not all(isinstance(one, str) for one in listed):
        return None
    try:
        "".join(listed).encode()
    except UnicodeEncodeError:
        return None
    return tuple(listed)


def in_file(path: Path, read: Callable[[mmap.mmap], Fitted]) -> Fitted:
    """Read the columns from a file of a booster, whose bytes are mapped and not all loaded into memory."""
    with path.open("rb") as file, pickles.mapped(file) as data:
        return read(data)


def in_pickle(data: mmap.mmap) -> Fitted:
    """Read the columns that the model in a pickle was fitted on, without running the pickle.

    XGBoost, LightGBM and CatBoost store their models in their own formats inside it; estimators have an attribute.
    """
    readers = {"xgboost": in_xgboost_ubj, "lightgbm": in_lightgbm, "catboost": _in_catboost}
    reader = readers.get(_package(pickles.steps(data, 0)))
    try:
        return Fitted(_pickled(data)) if reader is None else reader(data)
    except ValueError:  # what looks like a booster's format may be something else
        return UNKNOWN


def _in_catboost(data: mmap.mmap) -> Fitted:
    return Fitted(of_table(cbm.names(data)))


def _package(steps: Iterable[tuple[str, Any]]) -> str:
    """Return the package of the first class that a pickle names, which is that of the whole object."""
    texts = [""]
    for name, value in steps:
        if name in pickles.TEXTS:
            texts = [*texts[-1:], value]
        elif name in {"GLOBAL", "STACK_GLOBAL"}:
            return str(value or texts[0]).partition(" ")[0].partition(".")[0]
    return ""


def _pickled(data: mmap.mmap) -> Names | None:
    """Return the first column names found; joblib writes them as a nested pickle, among bytes that are not opcodes."""
    attribute = data.find(_ATTRIBUTE)
    if attribute < 0:
        return None
    start = data.find(b"\x80", attribute, attribute + _NEAR)
    while start >= 0:
        if names := _listed(pickles.steps(data, start), found=True):
            return names
        start = data.find(b"\x80", start + 1, attribute + _NEAR)
    return _listed(pickles.steps(data, 0), found=False)


def _listed(steps: Iterable[tuple[str, Any]], *, found: bool) -> Names | None:
    """Return the texts of a pickle's first list, or of the first after the attribute; ``None`` for other values."""
    names: list[str] | None = None
    for name, value in steps:
        if names is None:
            found = found or (name in pickles.TEXTS and value == _ATTRIBUTE.decode())
            if found and name in {"EMPTY_LIST", "LIST"}:
                names = []
        elif name in _ENDS:
            return _all_text(names)
        elif name in pickles.TEXTS:
            names.append(value)
        elif name not in {"MARK", "APPEND", "APPENDS", "FRAME"}:
            return None
    return None
