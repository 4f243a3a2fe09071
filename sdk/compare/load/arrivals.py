"""The times at which requests are due: fixed in advance, so that a slow answer never delays the next request."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

Kind = Literal["poisson", "constant"]


class Arrivals(msgspec.Struct, frozen=True):
    """A schedule of requests.

    Args:
        rate: Requests per second on average.
        kind: ``"poisson"``, which models many independent users, or ``"constant"``.
        seed: The seed of the schedule; the same seed gives the same times.
    """

    rate: float
    kind: Kind = "poisson"
    seed: int = 0


def offsets(arrivals: Arrivals, count: int) -> Iterator[float]:
    """Yield the seconds from the start at which the first ``count`` requests are due.

    Example:
        >>> list(offsets(Arrivals(rate=10, kind="constant"), 3))
        [0.0, 0.1, 0.2]
    """
    if arrivals.kind == "constant":
        yield from (place / arrivals.rate for place in range(count))
        return
    draw = random.Random(arrivals.seed)  # noqa: S311  # a schedule, not a secret
    due = 0.0
    for _ in range(count):
        due += draw.expovariate(arrivals.rate)
        yield due
