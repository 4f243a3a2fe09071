"""Discovery and parsing of the configuration files."""

from __future__ import annotations

import difflib
import hashlib
import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from ..errors import ConfigError, UntrustedConfigError
from ..util import kept, usertext
from ..util.foreign import is_shallow
from .trust import TARGET_KEYS, VARIABLE, named_trust, refusal
from .values import dotted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from .trust import TrustStore

NAME = "mlport.toml"
_LARGEST = 1 << 20
_MOST_SHOWN = 5
DEEPEST = 16
"""The most levels of tables and lists in a configuration; mlport's own keys need four."""
_PART = r"""(?:[A-Za-z0-9_-]+|"[^"\n]*"|'[^'\n]*')"""
_WORD = 64  # bits of a whole number, as in TOML
_ENDLESS_KEY = re.compile(rf"(?:^|[\[{{,])[ \t]*{_PART}(?:[ \t]*\.[ \t]*{_PART}){{{DEEPEST}}}", re.MULTILINE)
"""Keys with too many parts: the time that Python's parser takes grows with the square of their number."""


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A configuration file: its bytes, for the check whether they are trusted, and its tables."""

    path: Path
    content: bytes
    data: Mapping[str, Any]


def find_project_file(directory: Path) -> ConfigFile | None:
    """Find the nearest project file, from this directory upwards.

    The search ends at the root of a repository, and at a parent directory of another owner.

    Raises:
        ConfigError: A directory has both forms of the file, or a file is not valid TOML.
    """
    owner = _owner(directory)
    for folder in (directory, *directory.parents):
        if _owner(folder) != owner:
            return None
        found = _in_folder(folder)
        if found is not None and (folder == directory or _owner(found.path) == owner):
            return found
        if (folder / ".git").exists():
            return None
    return None


def _owner(path: Path) -> int | None:
    try:
        return path.stat().st_uid
    except OSError:
        return None  # not readable for this user


def _in_folder(folder: Path) -> ConfigFile | None:
    own, shared = folder / NAME, folder / "pyproject.toml"
    table = read_file(shared) if shared.is_file() else None
    if own.is_file():
        if table is not None:
            raise ConfigError(f"both {own} and [tool.mlport] in {shared} are there", hint="keep one of them")
        return read_file(own)
    return table


def read_file(path: Path, *, required: bool = False) -> ConfigFile | None:
    """Read a file; return ``None`` if it does not exist, or is a pyproject.toml without a table for mlport.

    Raises:
        ConfigError: The file cannot be read or is not valid TOML; the error has file, line, column and the line.
    """
    try:
        content = _content(path, named=required)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    if content is None:
        if required:
            raise ConfigError(f"there is no configuration file {path}")
        return None
    if path.name == "pyproject.toml" and b"mlport" not in content.replace(b"\0", b"") and not required:
        return None  # the file of another tool, even if it is malformed
    data = _parse(path, content)
    if path.name == "pyproject.toml":
        tool = data.get("tool")
        table = cast("dict[str, Any]", tool).get("mlport") if isinstance(tool, dict) else None
        if table is None and required:
            raise ConfigError(f"{path} has no table [tool.mlport]")
        return None if table is None else ConfigFile(path, content, _table(path, table))
    return ConfigFile(path, content, data)


def _content(path: Path, *, named: bool) -> bytes | None:
    """Return at most one byte more than allowed. A file that was found, not named, must be a regular one."""
    try:
        file = path.open("rb") if named else kept.open_regular(path, follow=True)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if file is None:
        return None
    with file:
        return file.read(_LARGEST + 1)


def _table(path: Path, table: object) -> dict[str, Any]:
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: tool.mlport must be a table")
    return cast("dict[str, Any]", table)


def _parse(path: Path, content: bytes) -> dict[str, Any]:
    if len(content) > _LARGEST:
        raise ConfigError(f"{path} is larger than {_LARGEST} bytes")
    text = usertext.decode(content, str(path))
    if endless := _ENDLESS_KEY.search(text):
        line = text.count("\n", 0, endless.start()) + 1
        raise ConfigError(f"{path}:{line}: a key of more than {DEEPEST} parts; nested too deeply")
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(path, text, str(error)) from error
    except RecursionError as error:
        raise ConfigError(f"{path}: nested too deeply") from error
    except ValueError as error:  # caused not by the syntax, but by a number with thousands of digits
        raise ConfigError(f"{path}: {error}") from error
    if not is_shallow(data, DEEPEST):
        raise ConfigError(f"{path}: nested more than {DEEPEST} levels deep")
    if is_too_large(data):
        raise ConfigError(f"{path}: a whole number of more than 64 bits")
    return data


def is_too_large(value: Any) -> bool:
    """Check whether a value is or contains a whole number of more than 64 bits, which may be too long to print."""
    if isinstance(value, dict):
        return any(map(is_too_large, cast("dict[str, Any]", value).values()))
    if isinstance(value, list):
        return any(map(is_too_large, cast("Any", value)))
    return isinstance(value, int) and value.bit_length() > _WORD


def _syntax_error(path: Path, text: str, message: str) -> ConfigError:
    lines = text.split("\n")
    place = re.search(r" \(at line (\d+), column (\d+)\)", message)
    line, column = (int(place[1]), int(place[2])) if place else (len(lines), len(lines[-1]) + 1)
    what = re.sub(r" \(at .*\)$", "", message)
    shown = lines[line - 1].rstrip("\r") if line <= len(lines) else ""
    return ConfigError(f"{path}:{line}:{column}: {what}\n  {shown}\n  {' ' * (column - 1)}^")


def leaves(data: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every key that is not a table, with its path."""
    for key, value in data.items():
        if isinstance(value, dict) and value:
            yield from leaves(cast("dict[str, Any]", value), (*path, key))
        else:
            yield (*path, key), value


def refusals(file: ConfigFile) -> list[str]:
    """Return one line for each key of a project file that needs trust."""
    found = [(dotted(path), reason) for path, value in leaves(file.data) if (reason := refusal(path, value))]
    return [f"{key if key.isprintable() else ascii(key)} {reason}" for key, reason in found]


def check_trust(file: ConfigFile, store: TrustStore, env: Mapping[str, str]) -> None:
    """Refuse the keys that an untrusted project file must not set.

    Args:
        file: The project file.
        store: The files that the user has trusted.
        env: The environment, in which a CI job names the files it trusts.

    Raises:
        UntrustedConfigError: The file is not trusted; the error names the keys and how to trust the file.
    """
    refused = refusals(file)
    digest = hashlib.sha256(file.content).hexdigest()
    named = named_trust(env)
    if not refused or digest in named or store.trusts(file.path, file.content):
        return
    shown = "; ".join([*refused[:_MOST_SHOWN], *(["…"] if len(refused) > _MOST_SHOWN else [])])
    stale = f" ({VARIABLE} names another content of it)" if named else ""
    raise UntrustedConfigError(
        f"{file.path} is not trusted{stale}: {shown}",
        hint=f"{_meant(refused)}read the file, then run `mlport config trust` (in CI set {VARIABLE}={digest}), "
        "or set the key in your user file",
    )


def _meant(refused: list[str]) -> str:
    """Return a hint for a likely misspelling of a key that is allowed."""
    last = refused[0].partition(" ")[0].rpartition(".")[2]
    near = difflib.get_close_matches(last, TARGET_KEYS, n=1)
    return f"did you mean {near[0]!r}? Otherwise " if near and last not in TARGET_KEYS else ""
