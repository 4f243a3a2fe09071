"""Validation of a target's settings with its adapter's options model, with readable errors."""

from __future__ import annotations

import dataclasses
import typing
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from ..adapter import TargetOptions
from ..errors import ConfigError, UnknownKeyError
from ..util.durations import parse_duration
from ..util.redact import is_secret_name
from ..util.suggest import did_you_mean
from .values import DEFAULT, Path, Sourced, dotted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic_core import ErrorDetails

Options = TypeVar("Options", bound=TargetOptions)
_UNKNOWN = {"extra_forbidden", "unexpected_keyword_argument"}


def read_options(target: str, values: Mapping[Path, Sourced[Any]], kind: type[Options]) -> Options:
    """Return the options of a target; see :meth:`sdk.config.TargetSettings.options`."""
    table = _nested(values)
    try:
        options = kind.model_validate(table)
    except ValidationError as error:
        raise _readable(target, values, kind, error) from None  # the text of the original error would show the values
    given = table.get("replicas")
    if isinstance(given, dict) and "max" not in given and options.replicas.max < options.replicas.min:
        replicas = dataclasses.replace(options.replicas, max=options.replicas.min)  # `min = 2` alone means two
        options = options.model_copy(update={"replicas": replicas})
    _check(target, values, options)
    return options


def _nested(values: Mapping[Path, Sourced[Any]]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, item in values.items():
        if path == ("provider",):
            continue
        table = tree
        for key in path[:-1]:
            table = table.setdefault(key, {})
        table[path[-1]] = item.value
    return tree


def _place(target: str, values: Mapping[Path, Sourced[Any]], path: Path) -> str:
    """Return the source of a setting and its name."""
    near = [item.source for known, item in values.items() if known == path[: len(known)] or path == known[: len(path)]]
    source = near[0] if near else DEFAULT
    key = dotted(("target", target, *path))
    return key if source is DEFAULT else f"{source}: {key}"


def _readable(
    target: str, values: Mapping[Path, Sourced[Any]], kind: type[TargetOptions], error: ValidationError
) -> ConfigError:
    details = error.errors(include_url=False)
    unknown = next((detail for detail in details if detail["type"] in _UNKNOWN), None)
    if unknown is not None:
        path = _path(unknown)
        hint = did_you_mean(path[-1], _known(kind, path[:-1]))
        place = _place(target, values, path[:-1]) if len(path) > 1 else _place(target, values, path)
        key = dotted(("target", target, *path))
        source = place.rpartition(": ")[0]
        return UnknownKeyError(f"{source}: unknown key {key!r}" if source else f"unknown key {key!r}", hint=hint)
    return ConfigError("\n".join(_wrong(target, values, detail) for detail in details))


def _wrong(target: str, values: Mapping[Path, Sourced[Any]], detail: ErrorDetails) -> str:
    path = _path(detail)
    place = _place(target, values, path)
    if detail["type"] == "missing":
        return f"{place} is required"
    shown = "" if is_secret_name(dotted(path)) else f" = {detail['input']!r}"
    return f"{place}{shown}: {detail['msg']}"


def _path(detail: ErrorDetails) -> Path:
    return tuple(str(part) for part in detail["loc"])


def _known(kind: type[Any], path: Path) -> list[str]:
    """Return the keys that are valid in the table at this path."""
    for key in path:
        if not issubclass(kind, BaseModel) or key not in kind.model_fields:
            return []
        annotation: Any = kind.model_fields[key].annotation
        parts: tuple[Any, ...] = (annotation, *typing.get_args(annotation))  # a table may be optional
        tables: list[Any] = [part for part in parts if hasattr(part, "model_fields") or dataclasses.is_dataclass(part)]
        if not tables:
            return []
        kind = tables[0]
    if issubclass(kind, BaseModel):
        return ["provider", *kind.model_fields]
    return [item.name for item in dataclasses.fields(kind)]


def _check(target: str, values: Mapping[Path, Sourced[Any]], options: TargetOptions) -> None:
    """Check the settings of every target for errors that types cannot express."""
    if options.ttl is not None:
        parse_duration(options.ttl, field=_place(target, values, ("ttl",)))
    low, high = options.replicas.min, options.replicas.max
    if not 0 <= low <= high or high < 1:
        place = _place(target, values, ("replicas",))
        raise ConfigError(f"{place} = {{ min = {low}, max = {high} }}", hint="need 0 <= min <= max and max >= 1")
    need = options.resources
    if need is not None:
        for key, value, least in (("cpu", need.cpu, None), ("memory_gib", need.memory_gib, None), ("gpu", need.gpu, 0)):
            if value is not None and not (value > 0 or value == least):
                place = _place(target, values, ("resources", key))
                raise ConfigError(f"{place} = {value} must be above 0")
