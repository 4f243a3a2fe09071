"""The package ``sdk`` under the name of the distribution: ``import mlport`` is ``import sdk``.

Example:
    >>> import mlport, sdk
    >>> mlport is sdk
    True
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys

import sdk

TYPE_CHECKING = False  # as in `sdk`: importing `typing` takes longer than everything here
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from sdk import *  # noqa: F403  # the names in `__all__` of `sdk`

_PREFIX = f"{__name__}."


class _Alias(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """An import hook that returns the module ``sdk.X`` itself for ``mlport.X``, so that no class exists twice."""

    def __init__(self) -> None:
        self._specs: dict[str, importlib.machinery.ModuleSpec | None] = {}

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return a spec for a submodule that ``sdk`` has."""
        del path, target
        is_ours = name.startswith(_PREFIX) and name != f"{_PREFIX}__main__"  # `python -m mlport` needs its code
        if not is_ours or importlib.util.find_spec(_home(name)) is None:
            return None
        return importlib.machinery.ModuleSpec(name, self)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """Import the module under its own name."""
        module = importlib.import_module(_home(spec.name))
        self._specs[spec.name] = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Restore the module's own spec, which the import system has just replaced."""
        spec = module.__spec__
        if spec is not None:
            module.__spec__ = self._specs.pop(spec.name)


def _home(name: str) -> str:
    return f"sdk.{name.removeprefix(_PREFIX)}"


sys.meta_path.insert(0, _Alias())
sys.modules[__name__] = sdk
