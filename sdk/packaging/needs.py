"""Record which modules reading a written object needs: modules it names, modules its code imports, and submodules.

A function may use `scipy.special` although only `scipy` is among its globals: other code imported the submodule.
Each submodule that is loaded now, and whose name occurs in the written code, is imported when the object is read.
"""

from __future__ import annotations

import dis
import sys
import types
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple, cast

from sdk.packaging.libraries import is_local

if TYPE_CHECKING:
    from collections.abc import Collection

_IMPORTERS = {"import_module", "__import__"}


class Function(NamedTuple):
    """A function that is written with its code."""

    module: str
    name: str
    imports: frozenset[str]
    says_file: bool


@dataclass(slots=True)
class Needs:
    """The needs recorded while an object is written.

    Args:
        modules: Names of modules that reading it imports.
        names: The names in its code: globals, attributes, and texts that may be either.
        whole: The user's modules that are written with all of their content.
        functions: The functions that are written with their code.
    """

    modules: set[str] = field(default_factory=set[str])
    names: set[str] = field(default_factory=set[str])
    whole: set[str] = field(default_factory=set[str])
    functions: list[Function] = field(default_factory=list[Function])

    def see(self, obj: object, *, whole: bool = False) -> None:
        """Record what reading this object needs; a ``whole`` function, class or module brings its own code."""
        if isinstance(obj, types.ModuleType):
            (self.whole if whole else self.modules).add(obj.__name__)
        elif isinstance(obj, types.CodeType):
            self._see_code(obj)
        elif isinstance(obj, type | types.FunctionType | types.BuiltinFunctionType):
            self._see_named(obj, whole=whole)
        elif "<locals>" not in type(obj).__qualname__:  # a local class is seen itself when it is written
            self.modules.add(type(obj).__module__)

    def _see_named(self, obj: type | types.FunctionType | types.BuiltinFunctionType, *, whole: bool) -> None:
        self.modules.add(type(obj).__module__)
        owner: str | None = obj.__module__  # None for some functions written in C
        if owner and not whole:
            self.modules.add(owner)
        if isinstance(obj, types.FunctionType) and whole:
            says_file = "__file__" in names_in(obj.__code__)
            self.functions.append(Function(owner or "", obj.__qualname__, imports(obj.__code__), says_file))

    def _see_code(self, code: types.CodeType) -> None:
        names, found = names_in(code), imports(code)
        self.names |= names
        self.modules |= found
        if _IMPORTERS & names:
            self.modules |= {name for name in texts_in(code) if name in sys.modules}

    def submodules(self) -> list[str]:
        """Return the loaded submodules that the code may use through their package, and that nothing imports so far."""
        wanted = [
            name
            for name in list(sys.modules)
            if "." in name and name not in self.modules and self._says(name) and _is_itself(name) and not is_local(name)
        ]
        return sorted(wanted)

    def _says(self, name: str) -> bool:
        """Check whether the code names all parts of a module's name below a module that it imports."""
        parts = name.split(".")
        for place in range(len(parts) - 1, 0, -1):
            if parts[place] not in self.names:
                return False
            if ".".join(parts[:place]) in self.modules:
                return True
        return False

    def _used(self) -> list[Function]:
        """Return the functions that may be called: in a module that is written whole, only those named in code."""
        return [
            one
            for one in self.functions
            if one.module not in self.whole or one.name.partition(".")[0] in self.names | self.whole
        ]

    def own(self, shipped: Collection[str]) -> dict[str, str]:
        """Return the user's modules that a function imports when called and that are not packed, with that function."""
        found: dict[str, str] = {}
        for one in self._used():
            for top in sorted({name.partition(".")[0] for name in one.imports} - set(shipped)):
                if is_own(top):
                    found.setdefault(top, one.name)
        return found

    def says_file(self) -> str | None:
        """Return the name of a function that uses ``__file__`` although its module is not packed as a file."""
        return next((one.name for one in self._used() if one.says_file), None)


def _is_itself(name: str) -> bool:
    """Check whether a module is listed under its own name: `os.path` is an alias of another module."""
    return getattr(sys.modules.get(name), "__name__", None) == name


OURS = __name__.partition(".")[0]  # this library, which the server does not have


def is_own(top: str) -> bool:
    """Check whether a top-level module is one of the user's on this machine; an optional module may be missing."""
    if top in {"", "__main__"} or not is_local(top):
        return False
    try:
        return top in sys.modules or find_spec(top) is not None
    except (ImportError, ValueError):
        return False


def imports(code: types.CodeType) -> frozenset[str]:
    """Return the modules that a function imports when it is called."""
    found = {step.argval for step in dis.get_instructions(code) if step.opname == "IMPORT_NAME" and step.argval}
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= imports(constant)
    return cast("frozenset[str]", frozenset(found))


def names_in(code: types.CodeType) -> set[str]:
    """Return the names in code, including nested code; texts that are names count, because ``getattr`` takes them."""
    found = {*code.co_names, *(text for text in texts_in(code) if text.isidentifier())}
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= names_in(constant)
    return found


def texts_in(code: types.CodeType) -> set[str]:
    """Return the texts in the code object itself, without nested code."""
    return {constant for constant in code.co_consts if isinstance(constant, str)}
