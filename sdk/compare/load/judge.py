"""Whether a window says something about the target, or only about the machine that measured it."""

from __future__ import annotations

import math
from array import array
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .messages import Volley


class Limits(msgspec.Struct, frozen=True):
    """What the generator may cost before its window counts as spoiled.

    Args:
        lag_ms: 99 of 100 requests must leave within so many milliseconds of their due time …
        lag_share: … or within this share of the window's median latency, where that is more.
        cpu: Share of one core that the thread which keeps the schedule may use.
        opened: Share of the requests that may have opened a connection inside the window.
    """

    lag_ms: float = 1.0
    lag_share: float = 0.1
    cpu: float = 0.8
    opened: float = 0.01


def spoiled(volley: Volley, limits: Limits) -> list[str]:
    """Why a window is invalid; empty when it is valid."""
    return list(_reasons(volley, limits))


def _reasons(volley: Volley, limits: Limits) -> Iterator[str]:
    if volley.count == 0:
        yield "nothing was sent"
        return
    lag_ms = 1000 * _at(volley.seconds("lag"), 0.99)
    allowed = max(limits.lag_ms, limits.lag_share * 1000 * _at(volley.seconds("took"), 0.5))
    if lag_ms > allowed:
        yield f"the generator was late: lag p99 {lag_ms:.1f} ms, {allowed:.1f} ms allowed"
    busy = volley.loop_s / volley.wall_s if volley.wall_s > 0 else 0.0
    if busy > limits.cpu:
        yield f"the generator was busy: {busy:.0%} of a core, {limits.cpu:.0%} allowed"
    if volley.opened > max(1.0, limits.opened * volley.count):
        yield f"{volley.opened} connections were opened inside the window"


def _at(values: Sequence[float], share: float) -> float:
    ordered = array("d", sorted(values))
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)]
