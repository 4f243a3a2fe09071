"""Write live objects with cloudpickle, the user's own modules by value, and record every module they need.

Nothing is ever read back here: unpickling happens in the model server only.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import re
import sys
import threading
import types
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar, cast

from sdk.errors import PackagingError
from sdk.packaging.libraries import local_modules
from sdk.packaging.needs import Needs

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Sequence

_T = TypeVar("_T")

_REFUSALS = (pickle.PicklingError, TypeError, AttributeError, ValueError, RecursionError, NotImplementedError)
_REGISTRY = threading.RLock()
_NO_FILE = "<dynamic-code>"  # cloudpickle writes this instead of a file name
_RANDOM_ID = re.compile(r"[0-9a-f]{32}")


def dump(obj: Any, *, shipped: Collection[str] = ()) -> tuple[bytes, Needs]:
    """Return the object as bytes, and what reading them needs.

    Args:
        obj: Any live object.
        shipped: Top-level modules that are packed as files, so that they are referred to by name.

    Raises:
        PackagingError: Something in the object cannot be written, such as a lock, a socket or a generator.
    """

    def write(pickler: Any) -> bytes:
        buffer = io.BytesIO()
        pickler(buffer, protocol=5).dump(obj)
        return buffer.getvalue()

    with by_value(shipped), refusals(obj):
        return written(write)


def written(write: Callable[[Any], _T]) -> tuple[_T, Needs]:
    """Write with a pickler that records what reading needs; write again if reading must import further submodules."""
    needs = Needs()
    result = write(recorder(needs))
    if further := needs.submodules():
        needs = Needs()
        result = write(recorder(needs, further))
    return result, needs


def recorder(needs: Needs, further: Sequence[str] = ()) -> Any:
    """Return a pickler class that records what it writes in ``needs``; reading also imports the ``further`` modules."""
    cloudpickle: Any = import_module("cloudpickle")
    waiting = [sys.modules[name] for name in further]

    class Recorder(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
        """A pickler that sees every object except plain values before writing it."""

        def __init__(self, *args: Any, **keywords: Any) -> None:
            super().__init__(*args, **keywords)  # pyright: ignore[reportUnknownMemberType]
            self._ordered: dict[int, _Ordered] = {}

        def reducer_override(self, obj: Any) -> Any:
            if isinstance(obj, _Ordered):
                return type(obj.values), (sorted(obj.values, key=_by_content),)
            if isinstance(obj, types.CodeType):
                needs.see(obj)
                return with_file(obj, self.dispatch_table[types.CodeType](obj))
            if isinstance(obj, types.ModuleType):
                made = self.dispatch_table[types.ModuleType](obj)
                needs.see(obj, whole=len(made[1]) > 1)
                return made
            reduced: Any = super().reducer_override(obj)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
            if reduced is NotImplemented:
                needs.see(obj)
                return NotImplemented
            needs.see(obj, whole=True)
            parts = cast("tuple[Any, ...]", reduced)
            if isinstance(obj, type | TypeVar):
                parts = stable(obj, parts)
            if isinstance(obj, types.FunctionType) and waiting:
                parts = _importing(parts, waiting)
            return (parts[0], *(_in_order(part, self._ordered) for part in parts[1:]))

    return Recorder


def _importing(parts: tuple[Any, ...], waiting: list[types.ModuleType]) -> tuple[Any, ...]:
    """Add modules to a function's pickled state, where cloudpickle lists submodules, to import them first."""
    state, slots = parts[2]
    slots["_cloudpickle_submodules"] = [*slots["_cloudpickle_submodules"], *waiting]
    waiting.clear()
    return (*parts[:2], (state, slots), *parts[3:])


def with_file(code: types.CodeType, reduced: tuple[Any, ...]) -> tuple[Any, ...]:
    """Keep the name of the file that code came from, so that tracebacks on the server show it.

    cloudpickle drops it. The folder is left out, so that a model has the same digest wherever it is packed. Names of
    notebook cells are left out too, because they change from run to run.
    """
    name = re.split(r"[/\\]", code.co_filename)[-1]
    if name.startswith("<") or "ipykernel" in code.co_filename:
        return reduced
    # Make a new string each time, as cloudpickle does: whether two strings are one object must not change the bytes.
    return (reduced[0], tuple("".join(name) if part == _NO_FILE else part for part in reduced[1]), *reduced[2:])


@dataclass(frozen=True, slots=True, eq=False)
class _Ordered:
    """A set that is being written: sets of text have a different order in every process."""

    values: set[Any] | frozenset[Any]


def _by_content(value: Any) -> tuple[str, str]:
    return type(value).__name__, repr(value)


def _is_tuple(part: Any) -> TypeGuard[tuple[Any, ...]]:
    return type(part) is tuple


def _is_dict(part: Any) -> TypeGuard[dict[Any, Any]]:
    return type(part) is dict


def _in_order(part: Any, known: dict[int, _Ordered]) -> Any:
    """Replace the sets directly in the state of a function or class by ordered ones; a shared set stays shared."""
    if type(part) in {set, frozenset}:
        return known.setdefault(id(part), _Ordered(part))
    if _is_tuple(part):
        return tuple(_in_order(item, known) for item in part)
    if _is_dict(part):
        fresh = part.get("__globals__")  # created by cloudpickle for this function alone
        found = {name: _in_order(value, known) for name, value in part.items() if type(value) in {set, frozenset}}
        if isinstance(fresh, dict):
            found["__globals__"] = _in_order(fresh, known)
        return {**part, **found} if found else part
    return part


def stable(obj: type | TypeVar, reduced: tuple[Any, ...]) -> tuple[Any, ...]:
    """Give a class written by value an id made of its name and line number.

    cloudpickle takes a random id, so the same script would give another model digest at every run.
    """
    code = (
        getattr(next(filter(callable, vars(obj).values()), None), "__code__", None) if isinstance(obj, type) else None
    )
    name = f"{obj.__module__}:{getattr(obj, '__qualname__', obj.__name__)}:{getattr(code, 'co_firstlineno', 0)}"
    fixed = hashlib.sha256(name.encode()).hexdigest()[:32]
    arguments = [fixed if isinstance(item, str) and _RANDOM_ID.fullmatch(item) else item for item in reduced[1]]
    return (reduced[0], tuple(arguments), *reduced[2:])


@contextmanager
def by_value(shipped: Collection[str]) -> Generator[None]:
    """Make cloudpickle write the user's own modules by value inside the block, as the server does not have them.

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
    """Turn pickling errors into one that says what cannot be written and what to do instead."""
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
