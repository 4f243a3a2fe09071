"""Instance types that a platform takes for serving and for training, and the error for any other."""

from __future__ import annotations

import csv
import difflib
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from ..errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Mapping
    from importlib.resources.abc import Traversable
    from pathlib import Path

    from .prices import Usage

_SHOWN = 3
_OTHER: Mapping[Usage, Usage] = {"inference": "training", "training": "inference"}
_WORDS: Mapping[Usage, str] = {"inference": "serving", "training": "training"}


@dataclass(frozen=True, slots=True)
class InstanceTypes:
    """The instance types of a platform in its own spelling, by use."""

    inference: frozenset[str]
    training: frozenset[str]

    def of(self, usage: Usage) -> frozenset[str]:
        """Return the types for one use."""
        return self.inference if usage == "inference" else self.training


def read_types(file: Path | Traversable) -> InstanceTypes:
    """Read the table of types that an adapter ships; the adapter's mini cloud reads it too.

    A row is a name with ``{}`` for the size, then the sizes for serving and for training.

    Args:
        file: A CSV file with the columns ``type``, ``serving`` and ``training``.
    """
    return _read(cast("Hashable", file))


@functools.lru_cache(maxsize=8)
def _read(file: Any) -> InstanceTypes:
    with file.open("r", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    found = {
        use: frozenset(row["type"].format(size) for row in rows for size in row[use].split())
        for use in ("serving", "training")
    }
    return InstanceTypes(found["serving"], found["training"])


def spelled(instance: str, usage: Usage, types: Mapping[Usage, Collection[str]], provider: str) -> str:
    """Return an instance type in the platform's own spelling.

    Args:
        instance: The type as the user wrote it; the part after a ``+`` names accelerators and is left to the adapter.
        usage: The use, serving or training.
        types: The known types by use.
        provider: The provider's name, for the error.

    Raises:
        ConfigError: The platform does not take it for this use; the hint names the nearest types.

    Example:
        >>> known = {"inference": ["ml.m5.large", "ml.t2.medium"], "training": ["ml.m5.large"]}
        >>> spelled("ML.M5.large", "training", known, "sagemaker")
        'ml.m5.large'
    """
    machine, plus, accelerators = instance.partition("+")
    by_lower = {name.lower(): name for name in types[usage]}
    if own := by_lower.get(machine.lower()):
        return f"{own}{plus}{accelerators}"
    if is_for_other_use(instance, usage, types):
        what = f"{provider} takes it for {_WORDS[_OTHER[usage]]} only, not for {_WORDS[usage]}"
    else:
        what = f"no instance type of {provider} for {_WORDS[usage]} is known by this name"
    raise ConfigError(
        f"instance = {instance!r}: {what}",
        provider=provider,
        hint=f"{_nearest(machine, by_lower)} (any_instance = true on the target takes what is newer than this table)",
    )


def is_for_other_use(instance: str, usage: Usage, types: Mapping[Usage, Collection[str]]) -> bool:
    """Check whether the platform takes a type for the other use but not for this one."""
    machine = instance.partition("+")[0].lower()
    here, there = (any(machine == name.lower() for name in types[use]) for use in (usage, _OTHER[usage]))
    return there and not here


def _nearest(machine: str, by_lower: Mapping[str, str]) -> str:
    close = difflib.get_close_matches(machine.lower(), by_lower, n=_SHOWN, cutoff=0.6)
    if close:
        return f"did you mean {', '.join(repr(by_lower[one]) for one in close)}?"
    return f"known are {', '.join(sorted(by_lower.values())[:_SHOWN])} and {max(0, len(by_lower) - _SHOWN)} more"
