"""Arrow IPC streams and Parquet files as request bodies, if pyarrow is in the model's environment.

In both formats a few bytes can expand to very much: compressed buffers, runs, views. A body that would need more
memory than the limits of the server allow is refused before it is unpacked.
"""

from __future__ import annotations

import base64
import importlib
import re
import struct
from decimal import Decimal
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from .failures import RequestError, bad_input

if TYPE_CHECKING:
    from collections.abc import Callable

    from .settings import ServerLimits

_VALUES_FOR_EACH_ROW = 10  # a table may have 10 times as many values as the maximum number of rows
_INDEX = re.compile(r"__index_level_\d+__")
_DIGITS = {"s": 0, "ms": -3, "us": -6, "ns": -9}
_EXPANSION = 8  # a table may need 8 times the memory of the largest body


def available() -> bool:
    """Return whether pyarrow is in this environment."""
    return find_spec("pyarrow") is not None


def from_arrow(body: bytes, limits: ServerLimits) -> dict[str, list[Any]]:
    """Return the columns of an Arrow IPC stream."""
    return _guarded("Arrow IPC stream", _read_arrow, body, limits)


def from_parquet(body: bytes, limits: ServerLimits) -> dict[str, list[Any]]:
    """Return the columns of a Parquet file."""
    return _guarded("Parquet file", _read_parquet, body, limits)


def _guarded(
    what: str, read: Callable[[Any, bytes, ServerLimits], Any], body: bytes, limits: ServerLimits
) -> dict[str, list[Any]]:
    pa: Any = importlib.import_module("pyarrow")
    try:
        return _columns(pa, read(pa, body, limits))
    except RequestError:
        raise
    except Exception as error:  # noqa: BLE001  damaged bytes raise almost any exception in pyarrow
        said = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise bad_input("bad_columnar", f"the body is no valid {what}: {said}", "body") from None


def _read_arrow(pa: Any, body: bytes, limits: ServerLimits) -> Any:
    _refuse_compressed(pa, body)
    with pa.ipc.open_stream(body) as reader:
        _check_types(pa, reader.schema)
        batches: list[Any] = []
        rows = 0
        for batch in reader:
            rows += batch.num_rows
            _check_count(rows, len(reader.schema), limits)
            batch.validate(full=True)
            batches.append(batch)
        table = pa.Table.from_batches(batches, reader.schema)
        _check_text(pa, table, limits)
        return table


def _read_parquet(pa: Any, body: bytes, limits: ServerLimits) -> Any:
    pq: Any = importlib.import_module("pyarrow.parquet")
    file = pq.ParquetFile(pa.BufferReader(body))
    about = file.metadata
    _check_count(about.num_rows, about.num_columns, limits)
    groups = (about.row_group(number) for number in range(about.num_row_groups))
    if sum(group.total_byte_size for group in groups) > _EXPANSION * limits.max_body:
        raise bad_input("too_complex", "the Parquet file is too large unpacked; send fewer rows at a time", "body")
    schema = file.schema_arrow
    _check_types(pa, schema)
    # Repeated texts take their space once in the file; read as categories, they take it once in memory, too.
    texts = [field.name for field in schema if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)]
    table = pq.ParquetFile(pa.BufferReader(body), read_dictionary=texts).read(use_threads=False)
    _check_count(table.num_rows, table.num_columns, limits)
    _check_text(pa, table, limits)
    return _with_durations(pa, table, about.metadata or {})


def _check_text(pa: Any, table: Any, limits: ServerLimits) -> None:
    """Refuse categories whose texts would be too long together if each row had its own."""
    compute: Any = importlib.import_module("pyarrow.compute")
    total = 0
    for column in table.columns:
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else None
        if kind is None or not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            continue
        for chunk in column.chunks:
            lengths = compute.binary_length(chunk.dictionary)
            total += compute.sum(lengths.take(chunk.indices)).as_py() or 0
    if total > _EXPANSION * limits.max_body:
        raise bad_input("too_complex", "the texts are too long unpacked; send fewer rows at a time", "body")


def _with_durations(pa: Any, table: Any, metadata: dict[bytes, bytes]) -> Any:
    """Restore durations, which Parquet stores as bare numbers in categories; their unit is in Arrow's metadata."""
    note = metadata.get(b"ARROW:schema")
    written = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(note))) if note else ()
    places: dict[str, list[int]] = {}
    for place, name in enumerate(table.column_names):
        places.setdefault(name, []).append(place)
    for field in written:
        wanted = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        if len(places.get(field.name, ())) != 1 or not pa.types.is_duration(wanted):
            continue
        (place,) = places[field.name]
        column = table.column(place)
        if pa.types.is_dictionary(column.type):
            column = pa.chunked_array([chunk.dictionary_decode() for chunk in column.chunks], column.type.value_type)
        if pa.types.is_integer(column.type):
            table = table.set_column(place, field.name, column.cast(pa.int64()).cast(wanted))
    return table


def _columns(pa: Any, table: Any) -> dict[str, list[Any]]:
    names = [name for name in table.column_names if not _INDEX.fullmatch(name)]  # pandas' index
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise bad_input("bad_request", f"the column {twice!r} is there twice", "body")
    if not names or not table.num_rows:
        raise bad_input("empty", "the table holds no row; send at least one", "body")
    return {name: _values(pa, table.column(name)) for name in names}


def _values(pa: Any, column: Any) -> list[Any]:
    """Return the values as in JSON: dates, times and durations as ISO 8601 text, decimals as text."""
    kind = column.type
    if pa.types.is_dictionary(kind):  # convert each distinct value once
        found: list[Any] = []
        for chunk in column.chunks:
            known = _values(pa, pa.chunked_array([chunk.dictionary]))
            found += [None if place is None else known[place] for place in chunk.indices.to_pylist()]
        return found
    if pa.types.is_duration(kind):
        return [None if value is None else _duration(value, kind.unit) for value in column.cast(pa.int64()).to_pylist()]
    if pa.types.is_temporal(kind):
        return [None if value is None else value.isoformat() for value in column.to_pylist()]
    if pa.types.is_decimal(kind):
        return [None if value is None else str(value) for value in column.to_pylist()]
    return list(column.to_pylist())


def _duration(count: int, unit: str) -> str:
    """Format a duration as ISO 8601."""
    seconds = Decimal(abs(count)).scaleb(_DIGITS[unit])
    return f"{'-' if count < 0 else ''}PT{seconds:f}S"


def _check_types(pa: Any, schema: Any) -> None:
    for field in schema:
        if not _is_plain(pa, field.type):
            raise bad_input("bad_type", f"column {field.name!r} has the type {field.type}, which is not taken", "body")


def _is_plain(pa: Any, kind: Any) -> bool:
    types = pa.types
    if types.is_dictionary(kind):
        return not types.is_dictionary(kind.value_type) and _is_plain(pa, kind.value_type)
    if types.is_fixed_size_list(kind):
        return bool(kind.list_size > 0) and _is_number(types, kind.value_type)
    if types.is_list(kind) or types.is_large_list(kind):
        return _is_number(types, kind.value_type)
    checks = (types.is_boolean, types.is_integer, types.is_floating, types.is_string, types.is_large_string)
    return any(check(kind) for check in (*checks, types.is_temporal, types.is_decimal, types.is_null))


def _is_number(types: Any, kind: Any) -> bool:
    return bool(types.is_integer(kind) or types.is_floating(kind))


def _check_count(rows: int, columns: int, limits: ServerLimits) -> None:
    most = limits.max_json_containers
    if rows > most or rows * columns > most * _VALUES_FOR_EACH_ROW:
        raise bad_input("too_complex", f"the table has {rows} rows and {columns} columns, more than {most} rows or "
                        f"{most * _VALUES_FOR_EACH_ROW} values; send fewer rows at a time", "body")  # fmt: skip


# Compressed buffers declare their own unpacked size, so a few bytes could request all memory.


def _refuse_compressed(pa: Any, body: bytes) -> None:
    for message in pa.ipc.MessageReader.open_stream(body):
        nested = message.type == "dictionary"
        if (nested or message.type == "record batch") and _is_compressed(message.metadata.to_pybytes(), nested=nested):
            raise bad_input(
                "bad_columnar", "compressed Arrow buffers are not taken; write the stream without them", "body"
            )


def _is_compressed(metadata: bytes, *, nested: bool) -> bool:
    """Check whether a message's record batch has a field `compression` (Message.fbs of the Arrow format)."""
    (message,) = struct.unpack_from("<I", metadata)
    batch = _field(metadata, message, 2)
    if batch and nested:
        batch = _field(metadata, batch, 1)
    return bool(batch and _field(metadata, batch, 3))


def _field(data: bytes, table: int, number: int) -> int:
    """Return the position of a table's field that is itself a table; 0 if the field is missing."""
    (back,) = struct.unpack_from("<i", data, table)
    (size,) = struct.unpack_from("<H", data, table - back)
    entry = 4 + 2 * number
    if entry >= size:
        return 0
    (offset,) = struct.unpack_from("<H", data, table - back + entry)
    if not offset:
        return 0
    place: int = table + offset + struct.unpack_from("<I", data, table + offset)[0]
    return place
