"""Write live objects with cloudpickle, the user's own modules by value, and note every module they need.

Nothing is ever read back here: unpickling happens in the model server only.
"""

from __future__ import annotations

import dis
import hashlib
import io
import pickle
import re
import threading
import types
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar, cast

from sdk.errors import PackagingError
from sdk.packaging.libraries import is_local, local_modules

if TYPE_CHECKING:
    from collections.abc import Collection, Generator

_REFUSALS = (pickle.PicklingError, TypeError, AttributeError, ValueError, RecursionError, NotImplementedError)
_REGISTRY = threading.RLock()
_NO_FILE = "<dynamic-code>"  # what cloudpickle writes instead of a file
_RANDOM_ID = re.compile(r"[0-9a-f]{32}")


def dump(obj: Any, *, shipped: Collection[str] = ()) -> tuple[bytes, set[str]]:
    """The object as bytes, and the names of the modules that reading them imports.

    Args:
        obj: Any live object.
        shipped: Top-level modules that travel as files, so that they are referred to by name.

    Raises:
        PackagingError: Something in the object cannot be written, such as a lock, a socket or a generator.
    """
    buffer = io.BytesIO()
    modules: set[str] = set()
    with by_value(shipped), refusals(obj):
        recorder(modules)(buffer, protocol=5).dump(obj)
    return buffer.getvalue(), modules


def recorder(modules: set[str]) -> Any:
    """A pickler class that notes what it writes in ``modules``."""
    cloudpickle: Any = import_module("cloudpickle")

    class Recorder(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
        """Sees every object that is not a plain value before it is written."""

        def __init__(self, *args: Any, **keywords: Any) -> None:
            super().__init__(*args, **keywords)  # pyright: ignore[reportUnknownMemberType]
            self._ordered: dict[int, _Ordered] = {}

        def reducer_override(self, obj: Any) -> Any:
            if isinstance(obj, _Ordered):
                return type(obj.values), (sorted(obj.values, key=_by_content),)
            if isinstance(obj, types.CodeType):
                note(obj, modules)
                return with_file(obj, self.dispatch_table[types.CodeType](obj))
            reduced: Any = super().reducer_override(obj)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
            if reduced is NotImplemented:
                note(obj, modules)
                return NotImplemented
            note(obj, modules, whole=True)
            parts = cast("tuple[Any, ...]", reduced)
            if isinstance(obj, type | TypeVar):
                parts = stable(obj, parts)
            return (parts[0], *(_in_order(part, self._ordered) for part in parts[1:]))

    return Recorder


def with_file(code: types.CodeType, reduced: tuple[Any, ...]) -> tuple[Any, ...]:
    """Keep the name of the file that code came from, so that traces on the server name it.

    cloudpickle drops it. The folder is left out, so that a model has the same digest wherever it is packed, and so are
    the names of notebook cells, which change from run to run.
    """
    name = re.split(r"[/\\]", code.co_filename)[-1]
    if name.startswith("<") or "ipykernel" in code.co_filename:
        return reduced
    # A fresh string each time, as cloudpickle makes them: whether two are one object must not change the bytes.
    return (reduced[0], tuple("".join(name) if part == _NO_FILE else part for part in reduced[1]), *reduced[2:])


@dataclass(frozen=True, slots=True, eq=False)
class _Ordered:
    """Stands for a set while it is written: sets of text have another order in every process."""

    values: set[Any] | frozenset[Any]


def _by_content(value: Any) -> tuple[str, str]:
    return type(value).__name__, repr(value)


def _is_tuple(part: Any) -> TypeGuard[tuple[Any, ...]]:
    return type(part) is tuple


def _is_dict(part: Any) -> TypeGuard[dict[Any, Any]]:
    return type(part) is dict


def _in_order(part: Any, known: dict[int, _Ordered]) -> Any:
    """The sets directly in what makes a function or class, replaced; one set stays one set."""
    if type(part) in {set, frozenset}:
        return known.setdefault(id(part), _Ordered(part))
    if _is_tuple(part):
        return tuple(_in_order(item, known) for item in part)
    if _is_dict(part):
        fresh = part.get("__globals__")  # made by cloudpickle for this function alone
        found = {name: _in_order(value, known) for name, value in part.items() if type(value) in {set, frozenset}}
        if isinstance(fresh, dict):
            found["__globals__"] = _in_order(fresh, known)
        return {**part, **found} if found else part
    return part


def stable(obj: type | TypeVar, reduced: tuple[Any, ...]) -> tuple[Any, ...]:
    """Give a class written by value an id made of its name and place.

    cloudpickle takes a random one, so that the same script would give another model digest at every run.
    """
    code = (
        getattr(next(filter(callable, vars(obj).values()), None), "__code__", None) if isinstance(obj, type) else None
    )
    name = f"{obj.__module__}:{getattr(obj, '__qualname__', obj.__name__)}:{getattr(code, 'co_firstlineno', 0)}"
    fixed = hashlib.sha256(name.encode()).hexdigest()[:32]
    arguments = [fixed if isinstance(item, str) and _RANDOM_ID.fullmatch(item) else item for item in reduced[1]]
    return (reduced[0], tuple(arguments), *reduced[2:])


def note(obj: Any, modules: set[str], *, whole: bool = False) -> None:
    """Add the modules that reading this one object would import; a ``whole`` function or class brings its own code."""
    if isinstance(obj, types.ModuleType):
        modules.add(obj.__name__)
    elif isinstance(obj, types.CodeType):
        modules.update(imports(obj))
    elif isinstance(obj, type | types.FunctionType | types.BuiltinFunctionType):
        modules.add(type(obj).__module__)
        owner: str | None = obj.__module__  # None for some written in C
        if owner and not whole:
            modules.add(owner)
    elif "<locals>" not in type(obj).__qualname__:  # the class of anything else comes by here itself
        modules.add(type(obj).__module__)


def imports(code: types.CodeType) -> set[str]:
    """The modules that a function imports when it is called."""
    found = {step.argval for step in dis.get_instructions(code) if step.opname == "IMPORT_NAME" and step.argval}
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= imports(constant)
    return cast("set[str]", found)


@contextmanager
def by_value(shipped: Collection[str]) -> Generator[None]:
    """Let cloudpickle write out in full what comes from the user's own modules, as the server does not have them.

    cloudpickle keeps one list per process, so one thread packs at a time.
    """
    cloudpickle: Any = import_module("cloudpickle")
    with _REGISTRY:
        already = set(cloudpickle.list_registry_pickle_by_value())
        chosen = [
            module
            for module in local_modules()
            if module.__name__ not in already and module.__name__.partition(".")[0] not in shipped
        ]
        for module in chosen:
            cloudpickle.register_pickle_by_value(module)
        try:
            yield
        finally:
            for module in chosen:
                cloudpickle.unregister_pickle_by_value(module)


@contextmanager
def refusals(obj: Any) -> Generator[None]:
    """Say what cannot be written, and what to do instead."""
    try:
        yield
    except _REFUSALS as error:
        raise _refused(obj, error) from error


def _refused(obj: Any, error: Exception) -> PackagingError:
    name = getattr(obj, "__qualname__", None) or type(obj).__qualname__
    return PackagingError(
        f"{name} cannot be packed: {error}",
        operation="pack",
        hint="make what it names inside the function, or in the `load` method of a class, instead of referring to it",
    )


def foreign(modules: Collection[str]) -> set[str]:
    """The modules that are the user's own and would be missing on the server."""
    return {module for module in modules if module not in {"__main__", "builtins"} and is_local(module)}
