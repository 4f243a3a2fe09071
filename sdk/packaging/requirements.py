"""Read the user's requirement lines, in lists and files with ``-r`` and ``-c``, as pip reads them.

Lines that cannot be locked with hashes are refused with the file, the line and advice.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sdk.errors import ConfigError
from sdk.packaging.libraries import normal
from sdk.util import usertext
from sdk.util.paths import expand

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9])?")
_REQUIREMENT = re.compile(
    r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[A-Za-z0-9._,\s-]*\])?\s*(?:(?:===?|~=|!=|[<>]=?)\s*[A-Za-z0-9].*|;.*)?"
)
_COMMENT = re.compile(r"(^|\s+)#.*$")
_VARIABLE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}")
_OPTION = re.compile(r"(--[a-z-]+|-[a-zA-Z])(?:\s*=\s*|\s*)(.*)")
_OPPOSITE = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", "<=": ">", ">": "<=", "in": "not in", "not in": "in"}
_OPERAND = r"""([a-z_]+|'[^']*'|"[^"]*")"""
_COMPARISON = re.compile(rf"\s*{_OPERAND}\s*(==|!=|<=|>=|<|>|not in|in)\s*{_OPERAND}\s*")
_LARGEST = 4 << 20
_DEEPEST = 20
_INCLUDES = {"-r": "-r", "--requirement": "-r", "-c": "-c", "--constraint": "-c"}
_INDEX = "give the index in index_url= or extra_index_urls=, with its login in ~/.netrc"
_ADVICE = {
    "-e": "write the path of the folder without it; the model carries a wheel of the package",
    "--editable": "write the path of the folder without it; the model carries a wheel of the package",
    "-i": _INDEX,
    "--index-url": _INDEX,
    "--pypi-url": _INDEX,
    "--extra-index-url": _INDEX,
    "--trusted-host": "give the index in index_url= and trust its certificate with SSL_CERT_FILE",
    "-f": "give the folder of wheels in find_links=",
    "--find-links": "give the folder of wheels in find_links=",
    "--no-index": "give the folder of wheels in find_links= and set offline = true",
    "--no-binary": "name the package in build_from_source=",
    "--only-binary": "leave the line out: only wheels are taken anyway",
    "--prefer-binary": "leave the line out: only wheels are taken anyway",
    "--require-hashes": "leave the line out: the lock has the hash of every file",
    "--pre": "require the version itself, such as 'name==2.0rc1'",
}


@dataclass(frozen=True, slots=True)
class RequirementLists:
    """The content of requirement lists and files: requirements, and constraints on packages needed anyway."""

    lines: list[str] = field(default_factory=list[str])
    constraints: list[str] = field(default_factory=list[str])


@dataclass(frozen=True, slots=True)
class _Line:
    """One logical line and its position."""

    text: str
    folder: Path
    place: str = ""
    trail: tuple[Path, ...] = ()

    def error(self, said: str, hint: str) -> ConfigError:
        where = f"{self.place}: " if self.place else ""
        return ConfigError(f"requirements: {where}{said}", hint=hint)


def read_requirements(requirements: Sequence[str | Path] | str | Path, *, foreign: bool = False) -> RequirementLists:
    """Read a list of requirements or a requirements file, and the files that these name.

    Args:
        requirements: The list or file.
        foreign: Whether the file has another author than the user: then it may not name files outside its folder,
            nor anything to be built on this machine.

    Raises:
        ConfigError: A file does not exist or is not text, or a line cannot be locked.
    """
    wishes = RequirementLists()
    if isinstance(requirements, str | Path):
        path = expand(requirements, field="requirements")
        if not path.is_file():
            raise ConfigError(f"requirements={str(requirements)!r} is not a file", hint="give a file or a list")
        for line in _lines(path, ()):
            _read(line, wishes, limit=path.resolve().parent if foreign else None)
    else:
        for item in requirements:
            _read_item(item, wishes)
    if foreign and (paths := [line for line in wishes.lines if is_path(line)]):
        raise ConfigError(
            f"requirements: {requirements} names {paths[0]}, and a folder is built by running its code",
            hint="read that code; if you trust it, name the folder in requirements=[…] of your own call",
        )
    return wishes


def _read_item(item: object, wishes: RequirementLists) -> None:
    if isinstance(item, Path):
        wishes.lines.append(str(expand(item, field="requirements").resolve()))
    elif isinstance(item, str):
        for _, text in _logical(item):
            _read(_Line(text, Path()), wishes, limit=None)
    else:
        raise ConfigError(f"requirements: {item!r} is not text or a path", hint="write it like 'numpy==2.1.0'")


def _lines(path: Path, trail: tuple[Path, ...]) -> Iterator[_Line]:
    here = (*trail, path.resolve())
    for number, text in _logical(usertext.read(path, what="requirements", most=_LARGEST)):
        yield _Line(text, path.parent, f"{path}:{number}", here)


def _logical(text: str) -> Iterator[tuple[int, str]]:
    """Iterate over logical lines and their numbers: continued lines are joined, comments and empty lines skipped."""
    begun: list[str] = []
    first = 1
    for number, line in enumerate([*text.splitlines(), ""], start=1):
        first = first if begun else number
        is_comment = line.lstrip().startswith("#")
        if line.endswith("\\") and not is_comment:
            begun.append(line[:-1])
            continue
        whole = _COMMENT.sub("", "".join([*begun, "" if is_comment else line])).replace("\t", " ").strip()
        begun = []
        if whole:
            yield first, whole


def _read(line: _Line, wishes: RequirementLists, *, limit: Path | None, constraint: bool = False) -> None:
    """Add a line's requirement or constraint to the wishes; ``limit`` is the folder that included files must be in."""
    if variable := _VARIABLE.search(line.text):
        raise line.error(f"{variable[0]} is not replaced here", "write the value itself, or build the list in Python")
    option = _OPTION.fullmatch(line.text)
    if option and (kind := _INCLUDES.get(option[1])):
        path = _included(line, option[2].strip(), limit)
        for inner in _lines(path, line.trail):
            _read(inner, wishes, limit=limit, constraint=constraint or kind == "-c")
    elif option:
        hint = _ADVICE.get(option[1], "use index_url=, extra_index_urls= and find_links=")
        raise line.error(f"option {option[1]!r} is not supported", hint)
    elif constraint:
        wishes.constraints.append(_constraint(line))
    else:
        wishes.lines.append(_requirement(line))


def _included(line: _Line, name: str, limit: Path | None) -> Path:
    """Return the file that a ``-r`` or ``-c`` line names, relative to the folder of the file that contains the line."""
    name = name[1:-1] if len(name) > 1 and name[0] == name[-1] and name[0] in "\"'" else name
    if not name or "://" in name:
        raise line.error(f"{line.text!r} does not name a file of this machine", "download it and give its path")
    path = line.folder / expand(name, field="requirements")
    if not path.is_file():
        hint = "give its path from the folder of this file"
        if ";" in name:
            hint = "a marker cannot stand here; write it behind each requirement of the file"
        raise line.error(f"there is no file {path}", hint)
    if limit is not None and not path.resolve().is_relative_to(limit):
        raise line.error(f"{name} lies outside of {limit}", "copy the file beside this one")
    if path.resolve() in line.trail:
        chain = " → ".join(part.name for part in (*line.trail, path))
        raise line.error(f"the files name each other in a circle: {chain}", "take one of these lines out")
    if len(line.trail) >= _DEEPEST:
        raise line.error(f"more than {_DEEPEST} files name each other", "put the requirements into fewer files")
    return path


def _requirement(line: _Line) -> str:
    text = line.text
    if is_path(text):
        path = (line.folder / expand(text, field="requirements")).resolve()
        if not path.exists() and re.search(r";|\[.*\]$", text):
            raise line.error(f"{text!r}: a folder or wheel cannot have a marker or extras here", "leave them out")
        return str(path)
    if _REQUIREMENT.fullmatch(text) and text.isprintable():
        return text
    if "://" in text or " @ " in text:
        shown = text.partition("@")[0].strip() if " @ " in text else f"{text.partition('://')[0]}://…"
        raise line.error(
            f"{shown!r} is a link, which has no lasting hash",
            "download or build its wheel and give the path of the file",
        )
    raise line.error(f"{text!r} is not a requirement", "write it like 'numpy==2.1.0'")


def _constraint(line: _Line) -> str:
    found = _REQUIREMENT.fullmatch(line.text)
    if not found or is_path(line.text) or "[" in line.text.partition(";")[0] or not line.text.isprintable():
        raise line.error(f"{line.text!r} is not a constraint", "write name and version, such as 'numpy==2.1.0'")
    return line.text


def is_path(line: str) -> bool:
    """Check whether a requirement names a folder or wheel of this machine.

    Example:
        >>> [is_path(line) for line in ("./lib", "libs/tool", "tool-1.0-py3-none-any.whl", "numpy", "a ; x < '/'")]
        [True, True, True, False, False]
    """
    if "://" in line:
        return False
    return line.startswith((".", "/", "~")) or line.endswith(".whl") or "/" in line.partition(";")[0].partition("@")[0]


def is_name(text: object) -> bool:
    """Check whether a value is exactly the name of a distribution."""
    return isinstance(text, str) and _NAME.fullmatch(text) is not None


def requirement_name(line: str) -> str:
    """Return the normal distribution name of a requirement.

    Example:
        >>> requirement_name("Torch[opt]==2.1+cpu")
        'torch'
    """
    match = _REQUIREMENT.fullmatch(line)
    return normal(match[1]) if match else line


def otherwise(lines: Iterable[str]) -> str | None:
    """Return the marker of environments where none of these requirements applies; ``None`` if it cannot be determined.

    Example:
        >>> otherwise(["numpy==1.26 ; python_version < '3.9' or sys_platform == 'win32'"])
        "python_version >= '3.9' and sys_platform != 'win32'"
        >>> otherwise(["numpy==1.26 ; python_version < '3.9' and sys_platform == 'win32'", "numpy==2"]) is None
        True
    """
    found: list[str] = []
    for line in lines:
        marker = line.partition(";")[2]
        groups = [[_negated(one) for one in re.split(r"\band\b", group)] for group in re.split(r"\bor\b", marker)]
        if not all(one for group in groups for one in group):
            return None
        found += [f"({' or '.join(map(str, group))})" if len(group) > 1 else str(group[0]) for group in groups]
    return " and ".join(found) or None


def _negated(comparison: str) -> str | None:
    """Return the opposite of one marker comparison; ``None`` if it is not one, such as a part in brackets."""
    match = _COMPARISON.fullmatch(comparison)
    return f"{match[1]} {_OPPOSITE[match[2]]} {match[3]}" if match else None


def requirement_names(lines: Iterable[str]) -> set[str]:
    """Return the normal distribution names of requirements."""
    return {requirement_name(line) for line in lines}
