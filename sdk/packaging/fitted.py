"""Read the columns that a model was fitted on from the bytes of its file, without loading it in a library.

These files hold only column names: the column types are known only from an example. So a model that was fitted on
columns of categories needs an example: without it, the categories of a request could not be reconstructed.
"""

from __future__ import annotations

import json
import mmap
import pickletools
import re
import struct
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from sdk.errors import ConfigError
from sdk.packaging.flavours.base import of_table

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
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
_TEXTS = {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE"}
_PUTS = {"PUT", "BINPUT", "LONG_BINPUT"}
_GETS = {"GET", "BINGET", "LONG_BINGET"}
_ENDS = {"TUPLE", "BUILD", "STOP"}


class Fitted(NamedTuple):
    """The columns of the table that a model was fitted on, if any, and whether some of them are categories."""

    names: Names | None = None
    categories: bool = False


UNKNOWN = Fitted()


def check_no_categories(*, categories: bool) -> None:
    """Refuse to pack a model that was fitted on categories without an example.

    Raises:
        ConfigError: The model was fitted on categories.
    """
    if categories:
        raise ConfigError(
            "the model was fitted on columns of categories, and without an example it is not known which they are",
            hint="give example= rows of the training table, such as df.head()",
        )


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
    with _mapped(path) as data:
        return read(data)


@contextmanager
def _mapped(path: Path) -> Generator[mmap.mmap]:
    with path.open("rb") as file, closing(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)) as data:
        yield data


def in_pickle(path: Path) -> Fitted:
    """Read the columns that the model in a pickle was fitted on, without running the pickle.

    XGBoost and LightGBM boosters are stored in their own formats inside it; estimators have an attribute.
    """
    if not path.stat().st_size:
        return UNKNOWN
    with _mapped(path) as data:
        reader = {"xgboost": in_xgboost_ubj, "lightgbm": in_lightgbm}.get(_package(_steps(data, 0)))
        try:
            return Fitted(_pickled(data)) if reader is None else reader(data)
        except ValueError:  # what looks like a booster's format may be something else
            return UNKNOWN


def _package(steps: Iterable[tuple[str, Any]]) -> str:
    """Return the package of the first class that a pickle names, which is that of the whole object."""
    texts = [""]
    for name, value in steps:
        if name in _TEXTS:
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
        if names := _listed(_steps(data, start), found=True):
            return names
        start = data.find(b"\x80", start + 1, attribute + _NEAR)
    return _listed(_steps(data, 0), found=False)


def _steps(data: mmap.mmap, start: int) -> Generator[tuple[str, Any]]:
    """Iterate over the opcodes of a pickle and their arguments, with references to earlier texts resolved."""
    data.seek(start)
    memo: dict[int, Any] = {}
    last: Any = None
    value: Any
    try:
        for opcode, value, _ in pickletools.genops(cast("Any", data)):
            name = opcode.name
            if name == "MEMOIZE" or name in _PUTS:
                memo[len(memo) if name == "MEMOIZE" else int(value)] = last
                continue
            known = memo.get(int(value)) if name in _GETS else value if name in _TEXTS else None
            last = known
            yield ("UNICODE", known) if isinstance(known, str) else (name, value)
    except Exception:  # noqa: BLE001  damaged or interrupted bytes raise almost anything
        return


def _listed(steps: Iterable[tuple[str, Any]], *, found: bool) -> Names | None:
    """Return the texts of a pickle's first list, or of the first after the attribute; ``None`` for other values."""
    names: list[str] | None = None
    for name, value in steps:
        if names is None:
            found = found or (name in _TEXTS and value == _ATTRIBUTE.decode())
            if found and name in {"EMPTY_LIST", "LIST"}:
                names = []
        elif name in _ENDS:
            return _all_text(names)
        elif name in _TEXTS:
            names.append(value)
        elif name not in {"MARK", "APPEND", "APPENDS", "FRAME"}:
            return None
    return None
