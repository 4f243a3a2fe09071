"""The ``MLPORT_*`` variables as a layer of the configuration; ``__`` separates nested tables."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from ..errors import ConfigError
from ..util.foreign import is_shallow
from .files import DEEPEST
from .values import Layer, Origin, Source

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_PLAIN = {
    "MLPORT_TARGET": ("default",),
    "MLPORT_OWNER": ("owner",),
    "MLPORT_STATE_DIR": ("state_dir",),
    "MLPORT_LOG": ("log",),
    "MLPORT_OFFLINE": ("offline",),
}
_NESTED = {"MLPORT_TARGET_": "target", "MLPORT_OBJECTIVE__": "objective", "MLPORT_MONITOR__": "monitor"}


def read_environment(env: Mapping[str, str], targets: Iterable[str]) -> Origin:
    """Return the layer of the environment. Empty variables count as not set.

    Args:
        env: The environment.
        targets: Names of the targets of the other layers: ``MLPORT_TARGET_MY_BOX__REGION`` refers to ``my-box`` if that
            is one of them.

    Raises:
        ConfigError: A variable matches two targets, names no setting, or is malformed JSON.
    """
    data: dict[str, Any] = {}
    names: dict[tuple[str, ...], str] = {}
    for name in sorted(env):
        path = _path(name, tuple(targets)) if env[name] else None
        if path is not None:
            _put(data, path, _value(name, env[name]), name)
            names[path] = name
    return Origin(Source(Layer.ENVIRONMENT), data, names)


def _path(name: str, targets: tuple[str, ...]) -> tuple[str, ...] | None:
    if name in _PLAIN:
        return _PLAIN[name]
    for prefix, table in _NESTED.items():
        if name.startswith(prefix):
            parts = name.removeprefix(prefix).split("__")
            if table != "target":
                return (table, *(part.lower() for part in parts))
            if len(parts) < 2 or not all(parts):
                raise ConfigError(f"{name} names no setting", hint="write MLPORT_TARGET_<NAME>__<KEY>")
            return (table, _target(name, parts[0], targets), *(part.lower() for part in parts[1:]))
    return None


def _target(variable: str, word: str, targets: tuple[str, ...]) -> str:
    fitting = [target for target in targets if target.upper().replace("-", "_") == word.upper()]
    if len(fitting) > 1:
        raise ConfigError(f"{variable} fits the targets {' and '.join(sorted(fitting))}", hint="rename one of them")
    return fitting[0] if fitting else word.lower()


def _value(name: str, text: str) -> Any:
    if text[0] not in "[{":
        return text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{name} is no valid JSON: {error}") from error
    if not is_shallow(value, DEEPEST):
        raise ConfigError(f"{name} is nested more than {DEEPEST} levels deep")
    return value


def _put(data: dict[str, Any], path: tuple[str, ...], value: Any, name: str) -> None:
    for key in path[:-1]:
        inner = data.setdefault(key, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"{name} goes into {key!r}, which another variable sets as a whole")
        data = cast("dict[str, Any]", inner)
    data[path[-1]] = value
