"""A configuration value and its source."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")
Path = tuple[str, ...]


class Layer(StrEnum):
    """The sources of a value, strongest first."""

    ARGUMENT = "argument"
    ENVIRONMENT = "environment"
    PROJECT = "project file"
    USER = "user file"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Source:
    """The source of a value: the layer, and the file or variable."""

    layer: Layer
    where: str = ""

    def __str__(self) -> str:
        return f"{self.layer} {self.where}".strip()


@dataclass(frozen=True, slots=True)
class Sourced(Generic[T]):
    """A value and its source."""

    value: T
    source: Source


@dataclass(frozen=True, slots=True)
class Origin:
    """One layer's values as nested tables; ``names`` has the exact place of a key if it differs from the layer's."""

    source: Source
    data: Mapping[str, Any]
    names: Mapping[Path, str]

    def source_of(self, path: Path) -> Source:
        """Return the source from which this layer has the key."""
        name = next((self.names[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self.names), None)
        return Source(self.source.layer, name) if name else self.source


def dotted(path: Path) -> str:
    """Join a path to a key as users write it.

    Example:
        >>> dotted(("target", "aws", "region"))
        'target.aws.region'
    """
    return ".".join(path)


DEFAULT = Source(Layer.DEFAULT)
