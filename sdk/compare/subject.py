"""The subject of a measurement, as the measuring code sees it: how to create its requests and read its metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import httpx

    from ..adapter.metrics import MetricsReport


@dataclass(frozen=True, slots=True)
class Subject:
    """One endpoint to measure.

    Args:
        key: The subject's name in the comparison.
        sign: Creates the signed request for some rows; called again for each window, since signatures expire.
        direct: Whether the endpoint is on this machine, where the proxies of the environment are not used.
        verify: ``True``, or the PEM text of the certificates to trust.
        served: Returns the target's own metrics over the last so many seconds; ``None`` where the target has none.
        machine: The machine that it runs on; subjects on different machines do not disturb each other.
    """

    key: str
    sign: Callable[[Any], httpx.Request]
    direct: bool = False
    verify: bool | str = True
    served: Callable[[float], MetricsReport | None] = lambda _seconds: None
    machine: str = "this machine"


def side_by_side(subjects: Sequence[Subject]) -> list[list[Subject]]:
    """Return the subjects grouped by machine; the groups can be measured at the same time.

    Example:
        >>> aws, local, docker = (Subject(key, repr, machine=at) for key, at in (("a", "aws"), ("l", ""), ("d", "")))
        >>> [[one.key for one in group] for group in side_by_side([local, aws, docker])]
        [['l', 'd'], ['a']]
    """
    groups: dict[str, list[Subject]] = {}
    for one in subjects:
        groups.setdefault(one.machine, []).append(one)
    return list(groups.values())
