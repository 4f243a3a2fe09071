"""What a flavour is, and what all of them share."""

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
    """What an object tells about itself, before any example.

    Args:
        method: The method to call when the user names none.
        rowwise: Whether rows are answered independently; ``None`` to find out from the example.
        allow_nan: Whether missing numbers are fine.
        inputs: The inputs, when the object knows them.
        columns: The columns it was fitted on, when it was fitted on a table.
        takes_arrays: Whether it takes arrays as well then, so that an example may be one.
        categories: Whether some of the columns are categories, which only an example shows.
        levels: The levels of each column of categories in that table, in its order, when the object keeps them.
        records: Whether each row is a dict, which it gets as it is.
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
    """What a flavour wrote: format and name of its file, modules needed to read it, options for the server.

    ``needs`` says more of what was written with its code.
    """

    format: str
    file: str
    modules: frozenset[str]
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    needs: Needs | None = None


@dataclass(frozen=True, slots=True)
class Trial:
    """The example and the live object's answer to it: what a copy read back must answer too."""

    method: str
    data: Any = None
    answer: Any = None
    shipped: Collection[str] = ()

    def passes(self, flavour: Flavour, copy: Any) -> bool:
        """Whether a copy answers like the object; true when there is no example to ask."""
        return self.data is None or answers.same(self.answer, flavour.predict(copy, self.method, self.data))


class Flavour(Protocol):
    """How one kind of object is recognised, asked and written."""

    @property
    def name(self) -> str:
        """Its word in the manifest."""
        ...

    def matches(self, obj: Any) -> bool:
        """Whether it packs this object; must not import the library."""
        ...

    def traits(self, obj: Any, /) -> Traits:
        """What the object tells about itself.

        Raises:
            PackagingError: It is not ready to predict, for instance not fitted.
        """
        ...

    def predict(self, obj: Any, method: str, data: Any, /) -> Any:
        """The live object's answer to a prepared example."""
        ...

    def save(self, obj: Any, folder: Path, trial: Trial, /) -> Saved:
        """Write the object into ``folder``.

        Raises:
            PackagingError: It cannot be written so that it can be read again.
        """
        ...


_MADE_UP = re.compile(r"Column_\d+")  # LightGBM's own names for the columns of an array


def of_table(names: Iterable[str]) -> tuple[str, ...] | None:
    """The names of columns, but for those that LightGBM and CatBoost make up for the columns of an array."""
    listed = tuple(names)
    counted = all(name == str(place) for place, name in enumerate(listed))
    return None if counted or all(map(_MADE_UP.fullmatch, listed)) else listed


def descends(obj: Any, package: str, *names: str) -> bool:
    """Whether the class of an object descends from a class of a library, found out without importing it."""
    return any(
        cls.__name__ in names and (cls.__module__ == package or cls.__module__.startswith(f"{package}."))
        for cls in type(obj).__mro__
    )


def call(obj: Any, method: str, data: Any) -> Any:
    """Call a method by name; an object without it is called itself."""
    return getattr(obj, method)(data)
