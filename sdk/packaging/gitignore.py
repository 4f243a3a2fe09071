"""Read the rules of ``.gitignore`` files: which paths Git would leave out of a repository."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from sdk.util import usertext

if TYPE_CHECKING:
    from pathlib import Path

NAME = ".gitignore"
_LARGEST = 1 << 20
_CLASS = re.compile(r"\[([!^]?)(\]?(?:\\.|\[:[a-z]+:\]|[^\]\\])*)\]", re.DOTALL)
_POSIX = {"alpha": "a-zA-Z", "digit": "0-9", "alnum": "a-zA-Z0-9", "upper": "A-Z", "lower": "a-z", "space": r"\s"}


@dataclass(frozen=True, slots=True)
class IgnoreRule:
    """One line: what it matches below the folder of its file, and whether it re-includes a path."""

    pattern: re.Pattern[str]
    back: bool
    folders_only: bool
    by_name: bool


@dataclass(frozen=True, slots=True)
class Ignore:
    """The rules that apply to one folder: those of its own file and of the files above, nearest last."""

    levels: tuple[tuple[Path, tuple[IgnoreRule, ...]], ...] = ()

    @classmethod
    def above(cls, folder: Path) -> Ignore:
        """Return the repository's rules that apply to a folder; none if the repository ignores the folder itself."""
        root = next((path for path in (folder, *folder.parents) if (path / ".git").exists()), None)
        if root is None or root == folder:
            return cls()
        rules = cls()
        for path in reversed([path for path in folder.parents if path.is_relative_to(root)]):
            rules = rules.within(path)
            below = path / folder.relative_to(path).parts[0]
            if rules.ignores(below, is_folder=True):
                return cls()
        return rules

    def within(self, folder: Path) -> Ignore:
        """Return the rules inside a folder, which may have its own file."""
        file = folder / NAME
        return Ignore((*self.levels, (folder, parse(usertext.read(file, most=_LARGEST))))) if file.is_file() else self

    def ignores(self, path: Path, *, is_folder: bool) -> bool:
        """Check whether a path directly in the folder is ignored; the last rule that matches decides."""
        for folder, rules in reversed(self.levels):
            inside, name = _octets(path.relative_to(folder).as_posix()), _octets(path.name)
            for rule in reversed(rules):
                if rule.folders_only and not is_folder:
                    continue
                if rule.pattern.fullmatch(name if rule.by_name else inside):
                    return not rule.back
        return False


def parse(text: str) -> tuple[IgnoreRule, ...]:
    """Parse the text of a ``.gitignore`` file."""
    return tuple(rule for line in re.split(r"\r?\n", _octets(text)) if (rule := _rule(line)) is not None)


def _octets(text: str) -> str:
    """Return one character for each byte of the text, because Git's ``?`` and ``[…]`` match one byte."""
    return os.fsencode(text).decode("latin-1")


def _rule(line: str) -> IgnoreRule | None:
    line = re.sub(r"(?<!\\)((?:\\\\)*) +$", r"\1", line)
    if not line or line.startswith("#"):
        return None
    back = line.startswith("!")
    line = line.removeprefix("!") if back else line
    folders_only = line.endswith("/")
    line = line[:-1] if folders_only else line
    by_name = "/" not in line
    pattern = _translated(line.removeprefix("/"))
    return (
        None if pattern is None else IgnoreRule(re.compile(pattern, re.DOTALL | re.ASCII), back, folders_only, by_name)
    )


@cache
def _translated(glob: str) -> str | None:
    """Translate a pattern to a regular expression; return ``None`` if it matches nothing."""
    parts = glob.split("/")
    found: list[str] = []
    for number, part in enumerate(parts):
        is_last = number == len(parts) - 1
        if re.fullmatch(r"\*{2,}", part):
            found.append("(?:.+)" if is_last else "(?:.*/)?")
            continue
        inner = _part(part)
        if inner is None:
            return None
        found.append(inner if is_last else f"{inner}/")
    return "".join(found)


def _part(part: str) -> str | None:
    """Translate the part of a pattern between two slashes; return ``None`` if it matches nothing."""
    found: list[str] = []
    place = 0
    while place < len(part):
        char = part[place]
        if char == "[":
            match = _CLASS.match(part, place)
            if match is None:
                return None
            found.append(_class(match[1], match[2]))
            place = match.end()
            continue
        if char == "\\":
            if place + 1 == len(part):
                return None
            place += 1
            found.append(re.escape(part[place]))
        else:
            found.append({"*": "[^/]*", "?": "[^/]"}.get(char) or re.escape(char))
        place += 1
    return re.sub(r"(?:\[\^/\]\*){2,}", "[^/]*", "".join(found))


def _class(negated: str, content: str) -> str:
    content = re.sub(r"\[:([a-z]+):\]", lambda match: _POSIX.get(match[1], ""), content)
    content = re.sub(r"([\[&~|]|^\]|^\^)", r"\\\1", content)
    try:
        re.compile(f"[{content}]")
    except re.error:  # such as a range from Z to A, which matches nothing
        return "[^/]" if negated else r"(?!)"
    return f"(?!/)[{'^' if negated else ''}{content}]"
