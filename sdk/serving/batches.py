"""Joins waiting requests into one model call, splits its outputs again, and limits the rows of a call.

Many models need almost as long for one row as for fifty. Requests that wait when the model becomes free are joined at
once; a single request never waits for others. The maximum size of a call is learned from earlier calls; see
`DurationModel`.

Requests are joined only for models whose signature declares rows independent, and only inputs of the same types and
shapes.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np

from .codecs import Input
from .convert import TEXT
from .outputs import Outputs

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from .signature import ServedSignature

_SAMPLES = 16  # number of calls of one size that are remembered
_ENOUGH = 3  # calls of one size before that size counts
_FRESH_S = 30.0
_LOW = 0.25  # the quantile that a fit uses: the duration of an undisturbed call
_DEFAULT_BUDGET_S = 0.02


class DurationModel:
    """A model of the duration of a call by its number of rows, learned from earlier calls.

    Durations are grouped by powers of two of the rows; the newest 16 of each group are kept for 30 seconds. The time
    of a call is modelled as ``fixed + rows * each``, fitted to a low quantile of each size, since a busy machine only
    makes calls longer. A call may be as large as fits into the budget; where the fixed part is most of the budget, it
    may take twice as long as a single row. It is at most twice as large as the largest call seen, which limits the
    harm of a wrong estimate.

    Args:
        budget_s: Maximum seconds that one call should take.
        most: Maximum number of rows of a call.
        clock: Monotonic seconds.

    Example:
        >>> cost = DurationModel(0.02, 1000, lambda: 0.0)
        >>> cost.most()
        2
        >>> for rows in (1, 2, 4, 8, 16, 32, 64):
        ...     for _ in range(3):
        ...         cost.note(rows, 0.005 + rows * 0.0001)
        >>> cost.most()
        128
        >>> for _ in range(3):
        ...     cost.note(128, 0.005 + 128 * 0.0001)
        >>> cost.most()
        150
    """

    def __init__(self, budget_s: float, most: int, clock: Callable[[], float]) -> None:
        self._budget_s = budget_s
        self._most = most
        self._clock = clock
        self._seen: dict[int, deque[tuple[float, int, float]]] = {}
        self._slowest: dict[int, float] = {}  # by size, if seen often enough; ignores one outlier
        self._limit = 2
        self._notes = 0

    def note(self, rows: int, seconds: float) -> None:
        """Record the duration of one call."""
        size = rows.bit_length()
        if size not in self._seen:
            self._seen[size] = deque(maxlen=_SAMPLES)
        seen = self._seen[size]
        seen.append((self._clock(), rows, seconds))
        if len(seen) >= _ENOUGH:
            self._slowest[size] = sorted([took for *_, took in seen])[-2 if len(seen) == _SAMPLES else -1]
        self._notes += 1
        if rows > self._limit // 2 or self._notes % _SAMPLES == 0:
            self._limit = self._fitted(size)

    def most(self) -> int:
        """Return how many rows the next call may have."""
        return min(self._limit, self._most)

    def most_within(self, seconds: float) -> int:
        """Return how many rows a call may have that surely takes less time; 0 as long as too little is known.

        The time of a call larger than those seen is extrapolated in proportion to its rows.
        """
        found = 0
        for size in sorted(self._slowest):
            slowest = self._slowest[size]
            if slowest >= seconds:
                return min(found, (1 << (size - 1)) - 1)
            found = max(found, int(self._seen[size][-1][1] * seconds / max(slowest, 1e-6)))
        return found

    def _fitted(self, newest: int) -> int:
        points = {size: point for size, seen in self._seen.items() if (point := self._point(seen))}
        if not points:
            return 2
        largest = max(rows for rows, _ in points.values())
        if len(points) == 1:  # the fixed part is unknown: try the other side of the budget
            ((rows, seconds),) = points.values()
            return math.ceil(rows / 2 if seconds > self._budget_s and rows > 1 else 2 * rows)
        fixed, each = _line(list(points.values()))
        if newest in points:  # scale all sizes to the speed of the newest calls
            rows, seconds = points[newest]
            factor = seconds / max(fixed + each * rows, 1e-9)
            fixed, each = fixed * factor, each * factor
        fit = max(self._budget_s - fixed, fixed) / each if each > 0 else math.inf
        return max(1, int(min(2 * math.ceil(largest), fit)))

    def _point(self, seen: deque[tuple[float, int, float]]) -> tuple[float, float] | None:
        oldest = self._clock() - _FRESH_S
        while seen and seen[0][0] < oldest:
            seen.popleft()
        if len(seen) < _ENOUGH:
            return None
        return sum(rows for _, rows, _ in seen) / len(seen), sorted(took for *_, took in seen)[int(len(seen) * _LOW)]


def _line(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Fit the fixed part and the part per row by least squares of the relative error; neither is below 0."""
    weights = [1 / seconds**2 if seconds else 1.0 for _, seconds in points]
    total = sum(weights)
    x = sum(w * rows for w, (rows, _) in zip(weights, points, strict=True)) / total
    y = sum(w * seconds for w, (_, seconds) in zip(weights, points, strict=True)) / total
    spread = sum(w * (rows - x) ** 2 for w, (rows, _) in zip(weights, points, strict=True))
    both = sum(w * (rows - x) * (seconds - y) for w, (rows, seconds) in zip(weights, points, strict=True))
    each = max(0.0, both / spread) if spread else 0.0
    return max(0.0, y - each * x), each


def _kind(array: Any) -> Any:
    """Return the type of an array; texts of all lengths have the same type."""
    return "text" if array.dtype.kind == "U" else array.dtype


class Batches:
    """The rules for which requests of a model may share a call.

    Args:
        signature: The signature of the model.
        most: Maximum number of rows of a call; 1 disables joining.
        p95_ms: The latency objective in milliseconds; a request waits for the call before its own, so a call may take
            half of it. Without an objective a call may take 20 ms.
        clock: Monotonic seconds.
        library: Whether a library computes the outputs: the types of its numbers do not depend on the rows, so they
            need not be declared.
    """

    def __init__(
        self, signature: ServedSignature, *, most: int, p95_ms: float, clock: Callable[[], float], library: bool = False
    ) -> None:
        self.joins = signature.rowwise and not signature.free and most > 1
        self._may_be_undeclared = library and not signature.outputs
        self._declared = {one.name: one.dtype for one in signature.outputs}
        self.cost = DurationModel(p95_ms / 2000 if p95_ms else _DEFAULT_BUDGET_S, most, clock)

    @staticmethod
    def key(given: Input) -> Hashable:
        """Return what inputs must have in common to be joined; None for an input that cannot be joined."""
        tensors = given.tensors
        if not tensors or any(not array.ndim or len(array) != given.rows for array in tensors.values()):
            return None
        return tuple((name, _kind(array), array.shape[1:]) for name, array in tensors.items())

    @staticmethod
    def join(inputs: Sequence[Input]) -> Input:
        """Return one input with the rows of all inputs, which must have the same key."""
        tensors = {name: np.concatenate([one.tensors[name] for one in inputs]) for name in inputs[0].tensors}
        return Input(tensors, None, sum(one.rows for one in inputs))

    def cut(self, outputs: Outputs, rows: Sequence[int]) -> list[Outputs] | None:
        """Split the outputs by input; return None if they may differ from those of a separate call."""
        arrays, total = outputs.arrays, sum(rows)
        if not arrays or any(
            not array.ndim or len(array) != total or not self._is_declared(name, array)
            for name, array in arrays.items()
        ):
            return None
        found: list[Outputs] = []
        begin = 0
        for count in rows:
            found.append(Outputs({name: array[begin : begin + count] for name, array in arrays.items()}))
            begin += count
        return found

    def _is_declared(self, name: str, array: Any) -> bool:
        """Check whether an output has its declared type, so that no row has changed the type for the others."""
        if self._may_be_undeclared:
            return bool(array.dtype.kind in "biuf")
        declared = self._declared.get(name)
        if declared in TEXT:
            return array.dtype.kind == "U" or all(isinstance(one, str) for one in array.ravel().tolist())
        return bool(array.dtype.kind != "O" and array.dtype.name == declared)
