"""Find the user's modules that modules in `code=` import but that are not packed with them."""

from __future__ import annotations

import ast
import sys
from importlib.util import resolve_name
from pathlib import Path
from typing import TYPE_CHECKING

from sdk.packaging.needs import OURS, is_own

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator


def left_behind(modules: Collection[str], shipped: Collection[str]) -> dict[str, str]:
    """Return the user's modules that modules in ``code=`` import but that are not packed, each with its importer.

    Args:
        modules: Full names of the modules that the model needs.
        shipped: Top-level modules that are packed as files.
    """
    found: dict[str, str] = {}
    seen: set[str] = set()
    waiting = sorted(modules)
    while waiting:
        name = waiting.pop()
        top, _, _ = name.partition(".")
        if name in seen or top not in shipped:
            continue
        seen.add(name)
        waiting.append(name.rpartition(".")[0])
        for imported in _imports_of(name):
            other, _, _ = imported.partition(".")
            if other in shipped:
                waiting.append(imported)
            elif is_own(other) or other == OURS:
                found.setdefault(other, name)
    return found


def _imports_of(name: str) -> Iterator[str]:
    """Iterate over a loaded module's imports, without those in a ``try``, ``if`` or function, which are optional."""
    file: str | None = getattr(sys.modules.get(name), "__file__", None)
    if file is None or not file.endswith(".py"):
        return
    package = name if Path(file).name == "__init__.py" else name.rpartition(".")[0]
    for statement in ast.parse(Path(file).read_bytes()).body:
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            dots = "." * statement.level
            base = resolve_name(f"{dots}{statement.module or ''}", package) if dots else statement.module or ""
            yield base
            yield from (f"{base}.{alias.name}" for alias in statement.names if f"{base}.{alias.name}" in sys.modules)
