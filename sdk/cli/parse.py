"""Reads values from the command line: pairs, durations, JSON input."""

from __future__ import annotations

import csv
import io
import re
import sys
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import click

from .. import foreign, usertext
from ..durations import parse_duration
from ..errors import ConfigError

if TYPE_CHECKING:
    FloatParam = click.ParamType[float]
    AnyParam = click.ParamType[Any]
else:
    FloatParam = AnyParam = click.ParamType  # older versions of click cannot be subscripted


_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)


def pairs(_context: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """``KEY=VALUE`` texts as a dictionary; the same key twice is an error."""
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
            return _rows(text[1:]) if text.startswith("@") else foreign.parse(_typed_in(text))
        except ConfigError as error:
            self.fail(str(error), param, ctx)
        except ValueError as error:
            self.fail(f"not JSON: {error}; give rows such as '[[1, 2, 3]]', @FILE or -", param, ctx)


def _typed_in(value: str) -> str:
    return usertext.decode(sys.stdin.buffer.read(), "standard input") if value == "-" else value


def _rows(path: str) -> Any:
    """The rows of a file: CSV or JSON lines as its name says, else JSON."""
    text, kind = usertext.read(path), PurePath(path).suffix.lower()
    if kind in {".csv", ".tsv"}:
        return _table(path, text, "\t" if kind == ".tsv" else ",")
    if kind in {".jsonl", ".ndjson", ".jsonlines"}:
        lines = enumerate(text.splitlines(), start=1)
        return [foreign.parse(line, f"{path}:{number}") for number, line in lines if line.strip()]
    return foreign.parse(text)


def _table(path: str, text: str, separator: str) -> list[Any]:
    """The rows of CSV: objects by the names of the first line, or lists where that has numbers only."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    rows: list[list[str]] = []
    try:
        for row in filter(None, reader):
            rows.append(row)
            if len(row) != len(rows[0]):
                raise ConfigError(f"{path}:{reader.line_num}: {len(row)} cells, the first line has {len(rows[0])}")
    except csv.Error as error:
        raise ConfigError(f"{path}:{reader.line_num}: not CSV: {error}") from error
    values = [list(map(_cell, row)) for row in rows]
    if not rows or not any(isinstance(value, str) for value in values[0]):
        return values
    return [dict(zip(rows[0], row, strict=True)) for row in values[1:]]


def _cell(text: str) -> Any:
    """A cell of CSV: a number where JSON would have one, so that ``007`` stays text; nothing is null."""
    return foreign.parse(text) if _NUMBER.fullmatch(text) else text or None


DURATION = _Duration()
INPUT = _Input()


def typed(text: str) -> Any:
    """A parameter's value: JSON where it is JSON (``0.5``, ``true``, ``[1]``), else the text itself."""
    try:
        return foreign.parse(text)
    except ValueError:
        return text


def replicas(text: str) -> Any:
    """``3`` or ``1:4``."""
    from ..types import Replicas

    low, sign, high = text.partition(":")
    try:
        return Replicas(int(low), int(high) if sign else int(low))
    except ValueError:
        raise click.BadParameter(f"{text!r} is neither N nor MIN:MAX", param_hint="--replicas") from None


def traffic(texts: tuple[str, ...]) -> int | dict[str, int]:
    """``30``, or ``d1=70 d2=30``."""
    try:
        if len(texts) == 1 and "=" not in texts[0]:
            return int(texts[0])
        return {key: int(value) for key, _, value in (text.partition("=") for text in texts)}
    except ValueError:
        raise click.BadParameter(
            f"{' '.join(texts)!r} is neither a percent nor DEPLOYMENT=PERCENT", param_hint="PERCENT"
        ) from None


def secrets(texts: tuple[str, ...]) -> dict[str, str]:
    """``VARIABLE`` or ``VARIABLE=NAME`` as variable to name."""
    return {variable: name or variable for variable, _, name in (text.partition("=") for text in texts)}
