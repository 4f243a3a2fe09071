"""Read the user's own ``uv.toml`` without settings that would make ``uv`` build packages for mlport.

``no-binary`` in it overrides ``--only-binary :all:``, so an untrusted lock could name a source archive.
"""

from __future__ import annotations

import json
import tomllib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from sdk.errors import PackagingError
from sdk.packaging import disk

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping

_LARGEST = 1 << 20
_BUILDS = (
    *("no-binary", "no-binary-package", "no-build-isolation", "no-build-isolation-package", "config-settings"),
    *("config-settings-package", "extra-build-dependencies", "extra-build-variables", "build-constraint-dependencies"),
)


@contextmanager
def harmless(env: Mapping[str, str]) -> Generator[list[str]]:
    """Yield options that make ``uv`` ignore the user's settings about builds; empty if there are none of those.

    Args:
        env: The environment that ``uv`` gets.

    Raises:
        PackagingError: One of uv's configuration files cannot be read.
    """
    found = [_read(path) for path in _files(env)]
    if not any(_builds(table) for table in found):
        yield []
        return
    merged: dict[str, Any] = {}
    for table in reversed(found):  # the user's own file is first, and overrides the machine's
        _merge(merged, _without_builds(table))
    with disk.working_folder() as folder:
        path = folder / "uv.toml"
        path.write_text("".join(f"{json.dumps(key)} = {_toml(value)}\n" for key, value in merged.items()), "utf-8")
        yield ["--config-file", str(path)]


def _files(env: Mapping[str, str]) -> Iterator[Path]:
    if env.get("UV_NO_CONFIG"):
        return
    home = Path(env.get("HOME") or Path.home())
    chosen = env.get("UV_CONFIG_FILE")
    user = Path(env.get("XDG_CONFIG_HOME") or home / ".config") / "uv" / "uv.toml"
    machine = [Path(folder) / "uv" / "uv.toml" for folder in (env.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":")]
    places = [Path(chosen)] if chosen else [user, *machine, Path("/etc/uv/uv.toml")]
    yield from (path for one in places if (path := Path("/", one)).is_file())  # uv runs in the root folder


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _LARGEST:
            raise PackagingError(f"{path} is larger than {_LARGEST:,} bytes", hint="that is no configuration of uv")
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise PackagingError(f"{path} cannot be read: {error}", hint="correct the configuration of uv") from error


def _builds(table: Mapping[str, Any]) -> bool:
    return table != _without_builds(table)


def _without_builds(table: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in table.items() if key not in _BUILDS}
    if isinstance(kept.get("pip"), dict):
        kept["pip"] = _without_builds(cast("dict[str, Any]", kept["pip"]))
    return kept


def _merge(into: dict[str, Any], table: Mapping[str, Any]) -> None:
    for key, value in table.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], cast("dict[str, Any]", value))
        else:
            into[key] = value


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        pairs = cast("dict[str, Any]", value).items()
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(item)}" for key, item in pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, cast("Any", value))) + "]"
    return json.dumps(value) if isinstance(value, str | bool | int | float) else str(value)
