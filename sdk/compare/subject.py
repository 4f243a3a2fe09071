"""What is measured, seen from the one who measures: how to make a request for it, and what it says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import httpx

    from ..metrics import MetricsReport


@dataclass(frozen=True, slots=True)
class Subject:
    """One endpoint to measure.

    Args:
        key: Its name in the comparison.
        sign: Makes the signed request of some rows; signatures expire, so it is called anew for each window.
        direct: Whether it is on this machine, where no proxy of the environment is asked.
        verify: ``True``, or the PEM text of the certificates to trust.
        served: What the target measured over the last so many seconds; ``None`` where it measures nothing.
        machine: What it runs on; subjects of different machines do not disturb each other.
    """

    key: str
    sign: Callable[[Any], httpx.Request]
    direct: bool = False
    verify: bool | str = True
    served: Callable[[float], MetricsReport | None] = lambda _seconds: None
    machine: str = "this machine"


def side_by_side(subjects: Sequence[Subject]) -> list[list[Subject]]:
    """Return the subjects by what they run on: groups that can be measured at the same time.

    Example:
        >>> aws, local, docker = (Subject(key, repr, machine=at) for key, at in (("a", "aws"), ("l", ""), ("d", "")))
        >>> [[one.key for one in group] for group in side_by_side([local, aws, docker])]
        [['l', 'd'], ['a']]
    """
    groups: dict[str, list[Subject]] = {}
    for one in subjects:
        groups.setdefault(one.machine, []).append(one)
    return list(groups.values())
