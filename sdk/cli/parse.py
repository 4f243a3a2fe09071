"""Parsers for values from the command line: pairs, durations, JSON input."""

from __future__ import annotations

import csv
import io
import re
import sys
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, cast

import click
import msgspec

from ..errors import ConfigError, InvalidInputError
from ..util import foreign, usertext
from ..util.durations import parse_duration

if TYPE_CHECKING:
    from ..packaging.manifest import Signature

    FloatParam = click.ParamType[float]
    AnyParam = click.ParamType[Any]
else:
    FloatParam = AnyParam = click.ParamType  # older versions of click cannot be subscripted


_STDIN = "standard input"
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)


def pairs(_context: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """Parse ``KEY=VALUE`` texts into a dictionary; a repeated key is an error."""
    found: dict[str, str] = {}
    for text in values:
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise click.BadParameter(f"{text!r} is not KEY=VALUE", param=param)
        if key in found:
            raise click.BadParameter(f"{key!r} is given twice", param=param)
        found[key] = value
    return found


class _Duration(FloatParam):
    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return parse_duration(value)
        except ConfigError as error:
            self.fail(str(error), param, ctx)


class _Input(AnyParam):
    name = "json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        text = str(value)
        try:
            return _in_body(_given(text))
        except ConfigError as error:
            self.fail(str(error), param, ctx)
        except ValueError as error:
            file = f"; for the rows of the file write @{text}" if PurePath(text).suffix and Path(text).is_file() else ""
            self.fail(f"{error}; give rows such as '[[1, 2, 3]]', @FILE or -{file}", param, ctx)


def _in_body(value: Any) -> Any:
    """Return the rows in the body of a request, so that the same file works with curl; other values unchanged."""
    if not isinstance(value, dict):
        return value
    body = cast("dict[str, Any]", value)
    named = body.keys() & {"instances", "dataframe_records"}
    return body[named.pop()] if named and len(body) == 1 else body


def _given(value: str) -> Any:
    """Read the rows in ``@FILE``, in standard input (``-``), or in the text itself."""
    if value.startswith("@"):
        return _rows(value[1:], usertext.read(value[1:]), PurePath(value).suffix.lower())
    if value != "-":
        return foreign.parse(value, "the text")
    text = usertext.decode(sys.stdin.buffer.read(), _STDIN)
    return _rows(_STDIN, text, _kind(text))


def _kind(text: str) -> str:
    """Return the format of a text as a file suffix; JSON begins with a bracket, as does each line of JSON lines."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines or lines[0][0] not in "[{":
        return ".csv" if lines else ".json"
    return ".jsonl" if len(lines) > 1 and all(line[0] + line[-1] in {"[]", "{}"} for line in lines) else ".json"


def _rows(path: str, text: str, kind: str) -> Any:
    """Parse the rows of a file: CSV or JSON lines according to its suffix, else JSON."""
    if kind in {".csv", ".tsv"}:
        return _table(path, text, "\t" if kind == ".tsv" else ",")
    if kind in {".jsonl", ".ndjson", ".jsonlines"}:
        lines = enumerate(text.splitlines(), start=1)
        return [foreign.parse(line, f"{path}:{number}") for number, line in lines if line.strip()]
    return foreign.parse(text, path)


@dataclass(frozen=True, slots=True)
class CsvTable:
    """The cells of a CSV file, including the first line."""

    path: str
    cells: list[list[str]]

    def rows(self, signature: Signature | None) -> list[Any]:
        """Return the rows as the model's server reads them, or guess their types if the signature is unknown.

        Raises:
            InvalidInputError: The cells do not match the model's signature.
        """
        if signature is None or not signature.inputs:
            return self._guessed()
        from ..serving import bodies, failures, settings
        from ..serving import signature as served

        text = io.StringIO()
        csv.writer(text).writerows(self.cells)
        known = msgspec.convert(msgspec.to_builtins(signature), served.ServedSignature)
        no_limits = settings.ServerLimits(max_json_containers=sys.maxsize)
        try:
            return bodies.from_csv(text.getvalue().encode(), None, known, no_limits)
        except failures.RequestError as error:
            raise InvalidInputError(f"{self.path}: {error.message}", field=error.field) from None

    def _guessed(self) -> list[Any]:
        """Return objects with the names in the first line, or lists if that line holds numbers only."""
        values = [list(map(_cell, row)) for row in self.cells]
        if not values or not any(isinstance(value, str) for value in values[0]):
            return values
        return [dict(zip(self.cells[0], row, strict=True)) for row in values[1:]]


def _table(path: str, text: str, separator: str) -> CsvTable:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    rows: list[list[str]] = []
    try:
        for row in filter(None, reader):
            rows.append(row)
            if len(row) != len(rows[0]):
                raise ConfigError(f"{path}:{reader.line_num}: {len(row)} cells, the first line has {len(rows[0])}")
    except csv.Error as error:
        raise ConfigError(f"{path}:{reader.line_num}: not CSV: {error}") from error
    return CsvTable(path, rows)


def _cell(text: str) -> Any:
    """Parse a cell of CSV: a number if it is one in JSON, so that ``007`` stays text; ``None`` if empty."""
    return foreign.parse(text) if _NUMBER.fullmatch(text) else text or None


DURATION = _Duration()
INPUT = _Input()


def typed(text: str) -> Any:
    """Parse a parameter's value: JSON if it is valid JSON (``0.5``, ``true``, ``[1]``), else the text itself."""
    try:
        return foreign.parse(text)
    except ValueError:
        return text


def replicas(text: str) -> Any:
    """Parse ``3`` or ``1:4``."""
    from ..adapter.types import Replicas

    low, sign, high = text.partition(":")
    try:
        return Replicas(int(low), int(high) if sign else int(low))
    except ValueError:
        raise click.BadParameter(f"{text!r} is neither N nor MIN:MAX", param_hint="--replicas") from None


def traffic(texts: tuple[str, ...]) -> int | dict[str, int]:
    """Parse ``30``, or ``d1=70 d2=30``."""
    try:
        if len(texts) == 1 and "=" not in texts[0]:
            return int(texts[0])
        return {key: int(value) for key, _, value in (text.partition("=") for text in texts)}
    except ValueError:
        raise click.BadParameter(
            f"{' '.join(texts)!r} is neither a percent nor DEPLOYMENT=PERCENT", param_hint="PERCENT"
        ) from None


def secrets(texts: tuple[str, ...]) -> dict[str, str]:
    """Parse ``VARIABLE`` or ``VARIABLE=NAME`` into a mapping from variables to names."""
    return {variable: name or variable for variable, _, name in (text.partition("=") for text in texts)}
