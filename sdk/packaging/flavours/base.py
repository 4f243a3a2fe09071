"""The interface of flavours, and code shared by all flavours."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from sdk.packaging import answers

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from pathlib import Path

    from sdk.packaging.manifest import Tensor
    from sdk.packaging.needs import Needs


@dataclass(frozen=True, slots=True)
class Traits:
    """The properties that an object declares, before any example.

    Args:
        method: The method to call if the user names none.
        rowwise: Whether rows are answered independently; ``None`` if the example decides.
        allow_nan: Whether missing numbers are accepted.
        inputs: The inputs, if the object knows them.
        columns: The columns of the table that it was fitted on, if any.
        takes_arrays: Whether it then accepts arrays too, so that an example may be one.
        categories: Whether some of the columns are categories, whose levels only an example shows.
        levels: The levels of each column of categories in that table, in its order, if the object keeps them.
        records: Whether each row is a dict, which the object gets as it is.
    """

    method: str = "predict"
    rowwise: bool | None = None
    allow_nan: bool = False
    inputs: tuple[Tensor, ...] = ()
    columns: tuple[str, ...] | None = None
    takes_arrays: bool = False
    categories: bool = False
    levels: tuple[tuple[Any, ...], ...] = ()
    records: bool = False


@dataclass(frozen=True, slots=True)
class Saved:
    """The output of a flavour: format and name of its file, modules needed to read it, options for the server.

    ``needs`` has details of the parts that were written with their code.
    """

    format: str
    file: str
    modules: frozenset[str]
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    needs: Needs | None = None


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """The example and the live object's answer to it, which a copy read back must reproduce."""

    method: str
    data: Any = None
    answer: Any = None
    shipped: Collection[str] = ()

    def passes(self, flavour: Flavour, copy: Any) -> bool:
        """Check whether a copy answers like the object; always true without an example."""
        return self.data is None or answers.same(self.answer, flavour.predict(copy, self.method, self.data))


class Flavour(Protocol):
    """The way to recognise, call and write one kind of object."""

    @property
    def name(self) -> str:
        """The name of the flavour in the manifest."""
        ...

    def matches(self, obj: Any) -> bool:
        """Check whether the flavour packs this object; must not import the library."""
        ...

    def traits(self, obj: Any, /) -> Traits:
        """Return the properties that the object declares.

        Raises:
            PackagingError: The object is not ready to predict, for instance not fitted.
        """
        ...

    def predict(self, obj: Any, method: str, data: Any, /) -> Any:
        """Return the live object's answer to a prepared example."""
        ...

    def save(self, obj: Any, folder: Path, trial: RoundTrip, /) -> Saved:
        """Write the object into ``folder``.

        Raises:
            PackagingError: The object cannot be written so that it can be read again.
        """
        ...


_MADE_UP = re.compile(r"Column_\d+")  # LightGBM's generated names for the columns of an array


def of_table(names: Iterable[str]) -> tuple[str, ...] | None:
    """Return the column names; ``None`` if LightGBM or CatBoost generated them for the columns of an array."""
    listed = tuple(names)
    counted = all(name == str(place) for place, name in enumerate(listed))
    return None if counted or all(map(_MADE_UP.fullmatch, listed)) else listed


def descends(obj: Any, package: str, *names: str) -> bool:
    """Check whether an object's class descends from a class of a library, without importing the library."""
    return any(
        cls.__name__ in names and (cls.__module__ == package or cls.__module__.startswith(f"{package}."))
        for cls in type(obj).__mro__
    )


def call(obj: Any, method: str, data: Any) -> Any:
    """Call a method of an object by name."""
    return getattr(obj, method)(data)
