"""Pack the user's own Python: functions, and classes with ``predict`` and optionally ``load``."""

from __future__ import annotations

import inspect
import time
from contextlib import closing
from importlib import import_module
from typing import TYPE_CHECKING, Any

from sdk.errors import ConfigError
from sdk.packaging import pickling
from sdk.packaging.flavours.base import Saved, Traits, call, descends, of_table

if TYPE_CHECKING:
    from pathlib import Path

    from sdk.packaging.flavours.base import RoundTrip

_MOST_ITEMS, _MOST_S = 1000, 5.0  # what is looked at when packing


class PythonFunction:
    """Any callable, including the values that it closes over."""

    name = "function"

    def matches(self, obj: Any) -> bool:
        """Match functions, partial applications and callable objects, but not classes."""
        return callable(obj) and not isinstance(obj, type)

    def traits(self, obj: Any, /) -> Traits:
        """Return traits without inputs, which a function does not declare; its rows may depend on each other."""
        _check_callable(obj)
        return Traits(rowwise=False)

    def predict(self, obj: Any, _method: str, data: Any, /) -> Any:
        """Return the function's answer."""
        return whole(settled(obj(_scalars(data))))

    def save(self, obj: Any, folder: Path, trial: RoundTrip, /) -> Saved:
        """Write ``model.pkl``."""
        return _save(obj, folder, trial)


class PythonClass:
    """A class with ``predict``, or an instance of one; the server first calls ``load(folder)`` if it exists."""

    name = "class"

    def matches(self, obj: Any) -> bool:
        """Match anything with a ``predict`` method."""
        return callable(getattr(obj, "predict", None))

    def traits(self, obj: Any, /) -> Traits:
        """Return traits without inputs, which a class does not declare; its rows may depend on each other."""
        if isinstance(obj, type):
            try:
                inspect.signature(obj).bind()
            except TypeError as error:
                name = obj.__name__
                raise ConfigError(f"{name}() needs arguments: {error}", hint=f"give an object: {name}(…)") from error
        fitted: Any = getattr(obj, "feature_names_", None) if descends(obj, "catboost", "CatBoost") else None
        return Traits(rowwise=False, columns=of_table(fitted or ()), takes_arrays=True)

    def predict(self, obj: Any, method: str, data: Any, /) -> Any:
        """Return the object's answer."""
        return whole(settled(call(obj, method, _scalars(data))))

    def save(self, obj: Any, folder: Path, trial: RoundTrip, /) -> Saved:
        """Write ``model.pkl``."""
        return _save(obj, folder, trial)


def _save(obj: Any, folder: Path, trial: RoundTrip, /) -> Saved:
    data, needs = pickling.dump(obj, shipped=trial.shipped)
    (folder / "model.pkl").write_bytes(data)
    return Saved("cloudpickle", "model.pkl", frozenset(needs.modules | {"cloudpickle"}), needs=needs)


def settled(answer: Any) -> Any:
    """Return the result of an ``async def``, awaited as the server does it; return any other value as it is."""
    return import_module("sdk.serving.awaited").settled(answer)


def _scalars(data: Any) -> Any:
    """Return arrays without axes in the form that the server passes to functions and classes."""
    return import_module("sdk.serving.parts").as_scalars(data)


class Streamed(list[Any]):
    """The first items of an answer that the model yields item by item."""


def whole(answer: Any) -> Any:
    """Return the first items of an answer that is an iterator, since it may have no end; return others as they are."""
    if not import_module("sdk.serving.parts").is_stream(answer):
        return answer
    found, end = Streamed(), time.monotonic() + _MOST_S
    with closing(import_module("sdk.serving.awaited").iterated(answer)) as items:
        for item in items:
            found.append(item)
            if len(found) == _MOST_ITEMS or time.monotonic() > end:
                break
    return found


def _check_callable(function: Any) -> None:
    """Refuse a function that the server could not call with one argument."""
    name = getattr(function, "__name__", type(function).__name__)
    try:
        inspect.signature(function).bind(None)
    except TypeError as error:
        hint = "it is called with the rows as its only argument: def f(rows): return …"
        raise ConfigError(f"function {name} cannot be called with one argument: {error}", hint=hint) from error
    except ValueError:
        return  # a built-in without a signature
