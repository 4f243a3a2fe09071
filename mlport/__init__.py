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

TYPE_CHECKING = False  # as in `sdk`: importing `typing` takes longer than everything here
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from sdk import *  # noqa: F403  # the names in `__all__` of `sdk`

_PREFIX = f"{__name__}."


class _Alias(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """An import hook that returns the module ``sdk.X`` itself for ``mlport.X``, so that no class exists twice."""

    def __init__(self) -> None:
        self.checks = False  # whether `sdk` is imported, so that looking for its modules waits for no other thread
        self._specs: dict[str, importlib.machinery.ModuleSpec | None] = {}

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return a spec for a submodule that ``sdk`` has.

        Python holds a lock here that every import needs. So it must not wait until ``sdk`` is imported elsewhere.
        """
        del path, target
        is_ours = name.startswith(_PREFIX) and name != f"{_PREFIX}__main__"  # `python -m mlport` needs its code
        if not is_ours or (self.checks and importlib.util.find_spec(_home(name)) is None):
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


# The hook comes first: another thread may import a submodule while this one imports `sdk`.
_alias = _Alias()
sys.meta_path.insert(0, _alias)

import sdk  # noqa: E402

sys.modules[__name__] = sdk
_alias.checks = True
