"""Request bodies of other servers' clients: JSON of MLflow and TensorFlow Serving, a bare list, JSON lines, CSV.

Each is converted to the content of `{"instances": …}`, so that the same checks, conversions and messages apply.
"""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import msgspec

from .convert import TEXT, is_list
from .failures import RequestError, bad_input
from .signature import FREE, ServedSignature

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .settings import ServerLimits

Cell: TypeAlias = "str | int | float | bool | None"

FORMS = ("instances", "inputs", "dataframe_split", "dataframe_records", "input_data")
_NO_PARAMETERS = ("parameters", "params")
_MISSING = frozenset({"", "nan", "na", "n/a", "null", "none", "<na>"})
_TRUTHS = {"true": True, "false": False, "1": True, "0": False}
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_JSON_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
_INFINITE = re.compile(r"[+-]?inf(?:inity)?", re.IGNORECASE)
_FIELDS_FOR_EACH_ROW = 10  # a CSV body may have 10 times as many fields as the maximum number of rows


def rows_of(decoded: Any, signature: ServedSignature) -> list[Any] | None:
    """Return the rows of a JSON body of another form; None if its form is unknown.

    Raises:
        RequestError: 400; the body has parameters, or its parts are inconsistent.
    """
    if not isinstance(decoded, dict):
        return decoded if is_list(decoded) else None
    body = cast("dict[str, Any]", decoded)
    forms = [name for name in FORMS if name in body]
    if len(forms) != 1 or body.keys() - {*forms, *_NO_PARAMETERS}:
        return None
    if name := next((name for name in _NO_PARAMETERS if body.get(name)), None):
        raise bad_input("unknown_parameters", "this model takes no parameters", name)
    form, value = forms[0], body[forms[0]]
    if form == "dataframe_split" or (form == "input_data" and isinstance(value, dict) and "data" in value):
        return _ordered_rows(_split(value, form), signature)
    if form == "dataframe_records":
        return _ordered_rows(_listed(value, form), signature)
    if isinstance(value, dict) and not (signature.free and signature.columns is None):
        return signature.rows(cast("dict[str, Any]", value))
    return value if is_list(value) else [value]


def _ordered_rows(rows: list[Any], signature: ServedSignature) -> list[Any]:
    """Convert rows to lists in the order of the first row's columns, for a model with one unnamed input."""
    if signature.free or _expected(signature) or not rows or not isinstance(rows[0], dict):
        return rows
    names = list(cast("dict[str, Any]", rows[0]))
    for number, row in enumerate(rows):
        if not isinstance(row, dict) or row.keys() != set(names):
            raise bad_input("bad_request", f"row {number} has other columns than row 0", f"{FREE}[{number}]")
    lists = [[row[name] for name in names] for row in rows]
    return [row[0] for row in lists] if len(names) == 1 else lists


def _listed(value: Any, form: str) -> list[Any]:
    if not is_list(value):
        raise bad_input("bad_request", f"`{form}` must be an array of rows", form)
    return value


def _split(value: Any, form: str) -> list[Any]:
    """Return the rows of pandas' `orient="split"`: objects by column name, or lists if no columns are given."""
    if not isinstance(value, dict) or "data" not in value:
        raise bad_input("bad_request", f"`{form}` must be an object with `columns` and `data`", form)
    frame = cast("dict[str, Any]", value)
    if unknown := sorted(frame.keys() - {"columns", "index", "data"}):
        raise bad_input("bad_request", f"`{form}` has the unknown key {unknown[0]!r}", f"{form}.{unknown[0]}")
    data, columns = _listed(frame["data"], f"{form}.data"), frame.get("columns")
    if columns is None:
        return data
    if not is_list(columns) or not all(isinstance(name, str) for name in columns):
        raise bad_input("bad_request", "column names must be an array of text", f"{form}.columns")
    return _named_rows(columns, data, f"{form}.data")


def _named_rows(names: list[str], rows: list[Any], field: str) -> list[Any]:
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise bad_input("bad_request", f"the column {twice!r} is there twice", field)
    for number, row in enumerate(rows):
        if not is_list(row) or len(row) != len(names):
            told = f"{len(row)} values" if is_list(row) else "a single value"
            raise bad_input("ragged", f"row {number} has {told} for {len(names)} columns", f"{field}[{number}]")
    return [dict(zip(names, row, strict=True)) for row in rows]


def from_columns(named: dict[str, list[Any]], signature: ServedSignature) -> list[Any]:
    """Return the columns of a table as rows; for a model with one unnamed input, as lists in column order."""
    rows = zip(*named.values(), strict=True)
    if _expected(signature) or signature.free:
        return [dict(zip(named, row, strict=True)) for row in rows]
    return [row[0] if len(named) == 1 else list(row) for row in rows]


# JSON lines


def from_lines(
    body: bytes,
    parse: Callable[[Any, bytes, ServerLimits], Any],
    hook: Callable[[str], Any] | None,
    limits: ServerLimits,
) -> list[Any]:
    """Return the rows of JSON lines: one JSON value per row; empty lines are skipped.

    Args:
        body: The body.
        parse: Decodes JSON within the limits.
        hook: Parses a number with a fraction.
        limits: How many rows and containers there may be.
    """
    if body.count(b"\n") >= limits.max_json_containers:
        raise _too_many(f"{limits.max_json_containers} lines")
    body = body.removeprefix(b"\xef\xbb\xbf")
    try:
        rows: list[Any] = parse(msgspec.json.Decoder(float_hook=hook).decode_lines, body, limits)
    except RequestError:
        for number, line in enumerate(body.splitlines(), start=1):
            if line.strip():
                _check_line(line, number, parse, limits)
        raise
    return rows


def _check_line(
    line: bytes, number: int, parse: Callable[[Any, bytes, ServerLimits], Any], limits: ServerLimits
) -> None:
    try:
        parse(msgspec.json.decode, line, limits)
    except RequestError as error:
        raise RequestError(error.status, error.code, f"line {number}: {error.message}", error.field) from None


# CSV


def from_csv(body: bytes, header: bytes | None, signature: ServedSignature, limits: ServerLimits) -> list[Any]:
    """Return the rows of a CSV body.

    Args:
        body: The body, in UTF-8.
        header: `present` or `absent` from the content type; if missing, a first line that names the columns counts as
            a header.
        signature: Gives the names and types of the columns.
        limits: How many rows and fields there may be.
    """
    _check_size(body, limits)
    lines = _lines(body)
    first = next(lines, None)
    if first is None:
        raise bad_input("empty", "the CSV holds no row; send at least one", "body")
    names = _expected(signature)
    is_header = header == b"present" if header else _is_header(first, names, signature)
    given = [cell.strip() for cell in first] if is_header else None
    rows = list(lines) if is_header else [first, *lines]
    if not rows:
        fix = "send at least one row, and with curl use --data-binary, as -d removes the ends of the lines"
        raise bad_input("empty", f"the CSV holds a header and no row; {fix}", "body")
    width = len(first)
    for number, row in enumerate(rows):
        if len(row) != width:
            raise bad_input(
                "ragged", f"row {number} has {len(row)} fields, the first line has {width}", f"body[{number}]"
            )
    return _typed(rows, given, names, signature)


def _check_size(body: bytes, limits: ServerLimits) -> None:
    most = limits.max_json_containers
    if body.count(b"\n") + body.count(b"\r") >= most:
        raise _too_many(f"{most} lines")
    if body.count(b",") >= most * _FIELDS_FOR_EACH_ROW:
        raise _too_many(f"{most * _FIELDS_FOR_EACH_ROW} fields")


def _too_many(what: str) -> RequestError:
    return bad_input("too_complex", f"the body has more than {what}; send fewer rows at a time", "body")


def _lines(body: bytes) -> Iterator[list[str]]:
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise bad_input("bad_csv", f"the CSV is not UTF-8: {error.reason} at byte {error.start}", "body") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        yield from (row for row in reader if row)
    except csv.Error as error:
        raise bad_input("bad_csv", f"line {reader.line_num} is no valid CSV: {error}", "body") from None


def _expected(signature: ServedSignature) -> list[str]:
    """Return the names expected in a header; an empty list for a model with one unnamed input."""
    if signature.columns is not None:
        return signature.columns
    return [one.name for one in signature.inputs] if len(signature.inputs) > 1 else []


def _is_header(first: Sequence[str], names: Sequence[str], signature: ServedSignature) -> bool:
    """Check whether the first line names the columns; if they have no names, whether it contains no numbers."""
    cells = [cell.strip() for cell in first]
    if signature.records:
        return True  # without names the rows would not be objects
    if names:
        known = {name.casefold() for name in names}  # a name in other case is refused later, as no row has it
        return 2 * len(known.intersection(cell.casefold() for cell in cells)) >= len(known)
    if not signature.inputs or signature.inputs[0].dtype in TEXT:
        return False
    return not any(_NUMBER.fullmatch(cell) or _INFINITE.fullmatch(cell) or _is_value(cell) for cell in cells)


def _is_value(cell: str) -> bool:
    return cell.lower() in _MISSING or cell.lower() in _TRUTHS


def _typed(rows: list[list[str]], given: list[str] | None, names: list[str], signature: ServedSignature) -> list[Any]:
    if given is not None and "" in given and "" not in names:
        raise bad_input("unknown_input", "a column has no name; write the CSV without an index", "body")
    one = signature.inputs[0] if len(signature.inputs) == 1 else None
    tensors = {tensor.name: tensor for tensor in signature.inputs}
    order = given or names
    columns = [one or tensors.get(name) for name in order] or [one] * len(rows[0])
    if len(columns) != len(rows[0]):
        message = f"a line must have {len(columns)} fields, separated by commas: {', '.join(names[:10])}"
        raise bad_input("bad_shape", message, "body")
    readers = [
        _reader(column.dtype if column else "", missing=signature.allow_nan and not (column and column.required))
        for column in columns
    ]
    values = [[read(cell) for read, cell in zip(readers, row, strict=True)] for row in rows]
    if given is not None and (names or signature.free):
        return _named_rows(given, values, "body")
    if names and signature.columns is None:
        return _named_rows(names, values, "body")
    is_flat = one is not None and signature.columns is None and len(one.shape) < 2
    return [row[0] if is_flat and len(row) == 1 else row for row in values]


def _reader(dtype: str, *, missing: bool) -> Callable[[str], Cell]:
    """Return the parser of a cell by the column's type; it leaves an invalid cell as text, which is refused later."""
    if not dtype:
        return _guessed
    if dtype in {"bool", "boolean"}:
        return _truth
    if dtype.startswith(("float", "int", "uint")):
        return _whole if not dtype.startswith("float") else _number
    return str if dtype in TEXT and not missing else _text_or_missing


def _number(cell: str) -> Cell:
    cell = cell.strip()
    if _NUMBER.fullmatch(cell) or _INFINITE.fullmatch(cell):
        return float(cell)
    return None if cell.lower() in _MISSING else cell


def _whole(cell: str) -> Cell:
    cell = cell.strip()
    try:
        return int(cell) if _NUMBER.fullmatch(cell) else _number(cell)
    except ValueError:  # a fraction, or more digits than Python converts
        return float(cell)


def _truth(cell: str) -> Cell:
    cell = cell.strip()
    return None if cell.lower() in _MISSING else _TRUTHS.get(cell.lower(), cell)


def _text_or_missing(cell: str) -> Cell:
    return cell or None


def _guessed(cell: str) -> Cell:
    """Parse a cell of a model with unknown types by the rules of JSON, so that `007` stays text."""
    if not cell:
        return None
    if not _JSON_NUMBER.fullmatch(cell):
        return cell
    return _whole(cell) if cell.lstrip("-").isdigit() else float(cell)
