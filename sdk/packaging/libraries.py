"""Map the modules that an object needs to installed distributions: from module names to ``name==version``."""

from __future__ import annotations

import importlib.metadata
import json
import re
import sys
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import ModuleType

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_EXTRA = re.compile(r"\bextra\s*==")


def normal(name: str) -> str:
    """Return a distribution name in the form that indexes compare.

    Example:
        >>> normal("Scikit_Learn")
        'scikit-learn'
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def installed(modules: Iterable[str]) -> dict[str, str]:
    """Return the exact versions of the distributions with these modules, by normal name; skip ours and local ones."""
    found: dict[str, str] = {}
    for module in sorted(set(modules)):
        for name in _owners(module):
            found[normal(name)] = importlib.metadata.version(name)
    return found


def is_local(module: str) -> bool:
    """Check whether a module is the user's own: neither in the standard library nor in an installed distribution."""
    top = module.partition(".")[0]
    return top not in sys.stdlib_module_names and top not in sys.builtin_module_names and not _packages().get(top)


def local_modules() -> list[ModuleType]:
    """Return the loaded modules that are the user's own, except ``__main__``."""
    loaded = [(name, module) for name, module in sys.modules.items() if getattr(module, "__file__", None)]
    return [module for name, module in loaded if name not in {"__main__", "__mp_main__"} and is_local(name)]


def closure(names: Iterable[str]) -> dict[str, str]:
    """Return the installed versions of these distributions and of all their possible dependencies.

    Markers are not evaluated: superfluous names only pin distributions that would not have been installed.
    """
    found: dict[str, str] = {}
    waiting = [normal(name) for name in names]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        found[name] = distribution.version
        waiting += [normal(match[0]) for line in distribution.requires or () if (match := _needed(line))]
    return found


def _needed(requirement: str) -> re.Match[str] | None:
    return None if _EXTRA.search(requirement) else _NAME.match(requirement)


def _owners(module: str) -> tuple[str, ...]:
    top = module.partition(".")[0]
    names = _packages().get(top, ())
    if len(names) <= 1:
        return names
    path = getattr(sys.modules.get(module), "__file__", None)
    exact = tuple(name for name in names if path in _files(name))
    return exact or names


@cache
def _packages() -> Mapping[str, tuple[str, ...]]:
    found = importlib.metadata.packages_distributions()
    return {top: tuple(sorted({name for name in names if not _editable(name)})) for top, names in found.items()}


@cache
def _editable(name: str) -> bool:
    text = importlib.metadata.distribution(name).read_text("direct_url.json")
    return bool(text and json.loads(text).get("dir_info", {}).get("editable"))


@cache
def _files(name: str) -> frozenset[str]:
    """Return the paths of all files of a distribution; cached, as ``google`` and its like have thousands of modules."""
    distribution = importlib.metadata.distribution(name)
    return frozenset(str(distribution.locate_file(file)) for file in distribution.files or ())
