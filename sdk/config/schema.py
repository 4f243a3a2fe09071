"""The keys of the configuration that are independent of adapters, and the parser of each."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from ..errors import ConfigError, UnknownKeyError
from ..util.paths import expand
from ..util.suggest import did_you_mean
from .rules import parse_rule
from .values import Layer, Origin, Source, dotted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

_LEVELS = ("debug", "info", "warning", "error")
_TRUTH = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def _text(value: Any, field: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"{field} = {value!r} must be a text that is not empty")
    return value


def _label(value: Any, field: str) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,62}", value):
        raise ConfigError(f"{field} = {value!r} must be 1 to 63 lower-case letters, digits, - and _")
    return value


def _truth(value: Any, field: str) -> bool:
    known = value if isinstance(value, bool) else _TRUTH.get(str(value).lower())
    if known is None:
        raise ConfigError(f"{field} = {value!r} must be true or false")
    return known


def _level(value: Any, field: str) -> str:
    if str(value).lower() not in _LEVELS:
        raise ConfigError(f"{field} = {value!r} is not a log level", hint=did_you_mean(str(value), _LEVELS))
    return str(value).lower()


def _positive(value: Any, field: str) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 < number < math.inf:
        raise ConfigError(f"{field} = {value!r} must be a number above 0")
    return number


def _folder(value: Any, field: str) -> Path:
    return expand(_text(value, field), field=field)


def _rules(value: Any, field: str) -> tuple[Any, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in cast("Any", value)):
        raise ConfigError(f"{field} must be a list of rules", hint='write it like: alarms = ["p95_ms > 100 for 5m"]')
    return tuple(parse_rule(item, field=field) for item in cast("list[str]", value))


@dataclass(frozen=True, slots=True)
class Key:
    """A key: its path, the parser of its value, and its meaning."""

    path: tuple[str, ...]
    read: Callable[[Any, str], Any]
    meaning: str
    default: str
    variable: str = ""


KEYS = (
    Key(("default",), _text, "target that is used when none is named", "local", "MLPORT_TARGET"),
    Key(("owner",), _label, "whose resources these are: others are never touched", "user", "MLPORT_OWNER"),
    Key(("state_dir",), _folder, "folder of the journal, caches and local endpoints", "per user", "MLPORT_STATE_DIR"),
    Key(
        ("log",),
        _level,
        f"least level of log lines: {', '.join(_LEVELS)}; info shows every stage, debug each HTTP call too",
        "warning",
        "MLPORT_LOG",
    ),
    Key(("offline",), _truth, "use caches only, never the network", "false", "MLPORT_OFFLINE"),
    Key(("objective", "p95_ms"), _positive, "latency objective in milliseconds", "none", "MLPORT_OBJECTIVE__P95_MS"),
    Key(("monitor", "alarms"), _rules, "rules such as `p95_ms > 100 for 5m`", "none", "MLPORT_MONITOR__ALARMS"),
)
_TARGET_NAME = re.compile(r"[a-z][a-z0-9]*(?:[_-][a-z0-9]+)*")


def check_keys(origin: Origin) -> None:
    """Refuse unknown keys, except in the targets' own settings.

    Raises:
        UnknownKeyError: A key is unknown; the error names the key, its place and the nearest known one.
        ConfigError: A value is not a table where one is required, or a target's name is not valid.
    """
    tops = {key.path[0]: key for key in KEYS}
    for name, value in origin.data.items():
        source = origin.source_of((name,))
        if name == "target":
            _check_targets(value, source)
            continue
        if name not in tops:
            raise _unknown((name,), [*tops, "target"], source)
        if len(tops[name].path) > 1:
            inner = [key.path[1] for key in KEYS if key.path[0] == name]
            for key in _table(value, (name,), source):
                if key not in inner:
                    raise _unknown((name, key), inner, origin.source_of((name, key)))


def _check_targets(value: Any, source: Source) -> None:
    for name, table in _table(value, ("target",), source).items():
        if not _TARGET_NAME.fullmatch(name) or len(name) > 32:
            rule = "use up to 32 lower-case letters, digits and single inner - or _"
            raise ConfigError(f"{source}: target name {name!r} is not valid", hint=rule)
        _table(table, ("target", name), source)


def _table(value: Any, path: tuple[str, ...], source: Source) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{source}: {dotted(path)} must be a table", hint=f"write [{dotted(path)}]")
    return cast("dict[str, Any]", value)


def _unknown(path: tuple[str, ...], known: Iterable[str], source: Source) -> UnknownKeyError:
    return UnknownKeyError(f"{source}: unknown key {dotted(path)!r}", hint=did_you_mean(path[-1], known))


def read_key(key: Key, value: Any, source: Source) -> Any:
    """Parse and check the value of a key."""
    prefix = "" if source.layer is Layer.DEFAULT else f"{source}: "
    return key.read(value, f"{prefix}{dotted(key.path)}")
