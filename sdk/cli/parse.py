"""Reads values from the command line: pairs, durations, JSON input."""

from __future__ import annotations

import sys
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
        try:
            return foreign.parse(_text(str(value)))
        except ConfigError as error:
            self.fail(str(error), param, ctx)
        except ValueError as error:
            self.fail(f"not JSON: {error}; give rows such as '[[1, 2, 3]]', @file or -", param, ctx)


def _text(value: str) -> str:
    if value == "-":
        return usertext.decode(sys.stdin.buffer.read(), "standard input")
    return usertext.read(value[1:]) if value.startswith("@") else value


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
