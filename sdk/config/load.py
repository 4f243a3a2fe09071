"""Loading of the configuration: reads its layers and merges them; stronger layers take precedence."""

from __future__ import annotations

import os
import pwd
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..adapter.registry import adapters
from ..errors import ConfigError
from ..util.paths import expand
from .environment import read_environment
from .files import ConfigFile, check_trust, find_project_file, read_file, refusals
from .schema import KEYS, Key, check_keys, read_key
from .settings import Settings, TargetSettings, without_rival
from .trust import TrustStore
from .values import DEFAULT, Layer, Origin, Source, Sourced

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ..adapter.registry import Registry

_WHOLE = {"resources"}  # tables that are replaced as a whole, never merged


def load(
    *,
    arguments: Mapping[str, Any] | None = None,
    config: str | Path | None = None,
    env: Mapping[str, str] | None = None,
    directory: Path | None = None,
    registry: Registry = adapters,
) -> Settings:
    """Load the configuration: argument > environment > project file > user file > default.

    Args:
        arguments: Values in the form of a file's tables; ``target`` may also be a name, which then sets ``default``.
            ``None`` values count as not given.
        config: The project file to read instead of searching for one; also ``MLPORT_CONFIG``.
        env: The environment; that of the process by default.
        directory: The directory where the search for the project file starts; the current one by default.
        registry: The registry of the providers.

    Raises:
        UnknownKeyError: A key is unknown; the error suggests the nearest known one.
        UntrustedConfigError: The project file sets a key that only a trusted one may set.
        ConfigError: A file is not valid TOML, or a value is wrong; the error names file, key and fix.

    Example:
        >>> load(arguments={"target": "local"}, env={}).target().provider
        'local'
    """
    env = os.environ if env is None else env
    directory = (directory or Path.cwd()).resolve()
    file = _project_file(config, env, directory)
    given, variables, project, user = origins = _origins(arguments or {}, file, env)
    if file is not None:
        check_keys(project)  # reported before trust: a misspelt key is only a mistake
        check_trust(file, TrustStore(state_dir([given, variables, user], env, directory).value), env)
    for origin in origins:
        check_keys(origin)
    files = tuple(Path(origin.source.where) for origin in (project, user) if origin.source.where)
    return _settings(origins, files, env, directory, registry)


def trust_project_file(
    *, config: str | Path | None = None, env: Mapping[str, str] | None = None, directory: Path | None = None
) -> Trusted:
    """Trust the project file with its current content; the arguments are those of :func:`load`.

    Raises:
        ConfigError: A project file does not exist, or the state folder cannot be written.
    """
    env = os.environ if env is None else env
    directory = (directory or Path.cwd()).resolve()
    file = _project_file(config, env, directory)
    if file is None:
        raise ConfigError(f"there is no project file in {directory} or above", hint="run `mlport init` to write one")
    given, variables, _, user = _origins({}, file, env)
    store = TrustStore(state_dir([given, variables, user], env, directory).value)
    return Trusted(file.path, store.trust(file.path, file.content), tuple(refusals(file)))


def state_folder(*, env: Mapping[str, str] | None = None, directory: Path | None = None) -> Path:
    """Return only the state folder; a project file that does not set it need not be trusted or even valid.

    Args:
        env: The environment; that of the process by default.
        directory: The directory where the search for the project file starts; the current one by default.

    Raises:
        UntrustedConfigError: The project file sets another state folder and is not trusted.
    """
    env = os.environ if env is None else env
    directory = (directory or Path.cwd()).resolve()
    file = _project_file(None, env, directory)
    given, variables, project, user = _origins({}, file, env)
    if file is not None and "state_dir" in file.data:
        check_trust(file, TrustStore(state_dir([given, variables, user], env, directory).value), env)
    return state_dir([given, variables, project, user], env, directory).value


@dataclass(frozen=True, slots=True)
class Trusted:
    """A trusted project file: its SHA-256 (hex) and the permissions it now has, one line for each key."""

    path: Path
    digest: str
    allowed: tuple[str, ...]

    def __str__(self) -> str:
        return str(self.path)


def _project_file(config: str | Path | None, env: Mapping[str, str], directory: Path) -> ConfigFile | None:
    named = config or env.get("MLPORT_CONFIG")
    if named:
        return read_file(directory / expand(named, field="MLPORT_CONFIG"), required=True)
    return find_project_file(directory)


def _origins(
    arguments: Mapping[str, Any], project_file: ConfigFile | None, env: Mapping[str, str]
) -> tuple[Origin, Origin, Origin, Origin]:
    """Return the layers, strongest first."""
    given = Origin(Source(Layer.ARGUMENT), *_arguments(arguments))
    user_file = read_file(_home(env, "XDG_CONFIG_HOME", ".config") / "config.toml")
    project, user = _file_origin(project_file, Layer.PROJECT), _file_origin(user_file, Layer.USER)
    return given, read_environment(env, _targets([given, project, user])), project, user


def _settings(
    origins: Sequence[Origin], files: tuple[Path, ...], env: Mapping[str, str], directory: Path, registry: Registry
) -> Settings:
    found = {key.path: _pick(origins, key) for key in KEYS}

    def value(*path: str, default: Any) -> Sourced[Any]:
        return found[path] or Sourced(default, DEFAULT)

    return Settings(
        default=value("default", default="local"),
        owner=value("owner", default=_owner(env)),
        state_dir=state_dir(origins, env, directory),
        log=value("log", default="warning"),
        offline=value("offline", default=False),
        p95_ms=value("objective", "p95_ms", default=None),
        alarms=value("monitor", "alarms", default=()),
        targets={name: _target(origins, name, registry) for name in _targets(origins)},
        files=files,
        registry=registry,
    )


def _arguments(arguments: Mapping[str, Any]) -> tuple[dict[str, Any], dict[tuple[str, ...], str]]:
    data = {key: value for key, value in arguments.items() if value is not None}
    names: dict[tuple[str, ...], str] = {(key,): f"{key}=" for key in data}
    if isinstance(data.get("target"), str):
        data["default"] = data.pop("target")
        names["default",] = "target="
    return data, names


def _file_origin(file: ConfigFile | None, layer: Layer) -> Origin:
    return Origin(Source(layer, str(file.path) if file else ""), file.data if file else {}, {})


def _home(env: Mapping[str, str], variable: str, below_home: str) -> Path:
    """Return mlport's folder below an XDG base folder; a relative base is ignored, as the XDG specification says."""
    base = Path(env.get(variable, ""))
    home = Path(env.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir)
    return (base if base.is_absolute() else home / below_home) / "mlport"


def _owner(env: Mapping[str, str]) -> str:
    """Return the user without the machine, so that leftovers of a lost machine can be removed from another one."""
    user = env.get("USER") or env.get("LOGNAME") or f"uid{os.getuid()}"
    slug = re.sub(r"[^a-z0-9]+", "-", user.lower()).strip("-")
    return slug[:63].rstrip("-") or "unknown"


def state_dir(origins: Sequence[Origin], env: Mapping[str, str], directory: Path) -> Sourced[Path]:
    """Return the absolute state folder: one set in a file is relative to that file, any other to the directory."""
    found = _pick(origins, next(key for key in KEYS if key.path == ("state_dir",)))
    if found is None:
        return Sourced(_home(env, "XDG_STATE_HOME", ".local/state"), DEFAULT)
    in_file = found.source.layer in {Layer.PROJECT, Layer.USER}
    base = Path(found.source.where).parent if in_file else directory
    return Sourced(base / found.value, found.source)


def _pick(origins: Sequence[Origin], key: Key) -> Sourced[Any] | None:
    for origin in origins:
        value = _at(origin.data, key.path)
        if value is not None:
            source = origin.source_of(key.path)
            return Sourced(read_key(key, value, source), source)
    return None


def _at(data: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        if not isinstance(data, dict):
            return None
        data = cast("dict[str, Any]", data).get(key)
    return data


def _targets(origins: Sequence[Origin]) -> tuple[str, ...]:
    tables = [_at(origin.data, ("target",)) for origin in origins]
    return tuple(sorted({name for table in tables if isinstance(table, dict) for name in cast("Any", table)}))


def _target(origins: Sequence[Origin], name: str, registry: Registry) -> TargetSettings:
    merged: dict[tuple[str, ...], Sourced[Any]] = {}
    for origin in origins:
        for path, item in _leaves(origin, ("target", name)):
            if not any(_clash(path, known) for known in merged):
                merged[path] = item
    return TargetSettings(name, without_rival(name, merged), registry)


def _clash(path: tuple[str, ...], stronger: tuple[str, ...]) -> bool:
    """Check whether a stronger layer has set this key, a table above it or a key inside it."""
    shorter = min(len(path), len(stronger))
    return path[:shorter] == stronger[:shorter]


def _leaves(origin: Origin, prefix: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Sourced[Any]]]:
    table = _at(origin.data, prefix)
    if not isinstance(table, dict):
        return
    for key, value in cast("dict[str, Any]", table).items():
        path = (*prefix, key)
        if isinstance(value, dict) and value and key not in _WHOLE:
            yield from _leaves(origin, path)
        elif value is not None:
            yield path[2:], Sourced(cast("Any", value), origin.source_of(path))
