"""Exact quantiles: always a measured value, never interpolated or taken from a histogram."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers = npt.ArrayLike

P99_LEAST, P99_FIRM, P999_LEAST = 400, 2_000, 30_000


def quantile(values: Numbers, share: float) -> float:
    """Return the smallest measured value that at least ``share`` of all values, infinite ones included, do not exceed.

    Raises:
        ValueError: ``values`` is empty.

    Example:
        >>> quantile([3.0, 1.0, 2.0, float("inf")], 0.5)
        2.0
    """
    found: npt.NDArray[np.float64] = np.asarray(values, dtype=np.float64)
    if found.size == 0:
        raise ValueError("a quantile of no values")
    place = max(0, math.ceil(found.size * share - 1e-9) - 1)
    return float(np.partition(found, place)[place])


def rank_bounds(values: Numbers, share: float, confidence: float = 0.95) -> tuple[float, float] | None:
    """Return two measured values between which the true quantile lies, if the values are independent of each other.

    The bounds hold for every distribution (order statistics). ``None`` if there are too few values for such a pair.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    tail = (1 - confidence) / 2
    law: Any = stats.binom(ordered.size, share)
    low, high = int(law.ppf(tail)), int(law.ppf(1 - tail)) + 1
    if low < 1 or high > ordered.size:
        return None
    return float(ordered[low - 1]), float(ordered[high - 1])


def claimable(count: int) -> tuple[float, ...]:
    """Return the quantiles that so many requests can support.

    Example:
        >>> claimable(399), claimable(400)
        ((0.5, 0.9, 0.95), (0.5, 0.9, 0.95, 0.99))
    """
    shares: tuple[float, ...] = (0.5, 0.9, 0.95)
    if count >= P99_LEAST:
        shares = (*shares, 0.99)
    return (*shares, 0.999) if count >= P999_LEAST else shares
