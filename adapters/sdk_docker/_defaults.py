"""Default limits of replicas and jobs without limits of their own, so that a runaway one cannot exhaust the machine.

A replica gets 2 GiB, or four times the size of its model on disk if that is more: the file is read, unpacked and
copied during loading, and the interpreter with its libraries needs up to 1 GiB in addition. A job gets 4 GiB, or four
times the size of its local data. Both get one processor, since an engine refuses more than it has. ``resources`` sets
other limits.
"""

from __future__ import annotations

import contextlib
import math
from pathlib import Path
from typing import TYPE_CHECKING

from sdk.packaging import disk

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sdk.adapter import Json, Resources

CPU = 1.0
_GIB = 2**30
_REPLICA_GIB, _JOB_GIB = 2.0, 4.0
_TIMES = 4
_STEP = 4  # steps of a quarter of a GiB


def of_replica(given: Resources | None, model: str, state_dir: Path) -> dict[str, Json]:
    """Return processors and memory of one replica."""
    folders = (state / "models" / model for state in dict.fromkeys((state_dir, disk.state_path())))
    return _limits(given, _REPLICA_GIB, next((size for folder in folders if (size := size_of(folder))), 0))


def of_job(given: Resources | None, data: Mapping[str, str]) -> dict[str, Json]:
    """Return processors and memory of a job."""
    paths = (Path(where.removeprefix("file://")) for where in data.values() if where.startswith(("/", "file:///")))
    return _limits(given, _JOB_GIB, sum(size_of(path) for path in paths))


def in_words(limits: Mapping[str, Json]) -> str:
    """Format the limits for display.

    Example:
        >>> in_words({"cpu": 1.0, "memory_gib": 2.25})
        'at most 1 CPU and 2.25 GiB of memory'
    """
    return f"at most {limits['cpu']:g} CPU and {limits['memory_gib']:g} GiB of memory"


def default_gib(least: float, size: int) -> float:
    """Return the default memory for a model or data of ``size`` bytes, in whole quarters of a GiB.

    Example:
        >>> default_gib(2.0, 10 << 20), default_gib(2.0, 1 << 30), default_gib(2.0, (1 << 30) + 1)
        (2.0, 4.0, 4.25)
    """
    return max(least, math.ceil(_TIMES * size / _GIB * _STEP) / _STEP)


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder; 0 if the path does not exist."""
    files: Iterable[Path] = [path] if path.is_file() else path.rglob("*") if path.is_dir() else []
    total = 0
    for file in files:
        with contextlib.suppress(OSError):
            total += file.stat().st_size if file.is_file() else 0
    return total


def _limits(given: Resources | None, least: float, size: int) -> dict[str, Json]:
    cpu = given.cpu if given and given.cpu else CPU
    memory = given.memory_gib if given and given.memory_gib else default_gib(least, size)
    return {"cpu": cpu, "memory_gib": memory}
