"""The raw measurements of one subject."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from .stats import quantile
from .windows import Times

if TYPE_CHECKING:
    import numpy.typing as npt

    from ..adapter.metrics import MetricsReport
    from .load import Volley
    from .search import Highest

    Array = npt.NDArray[np.float64]


@dataclass
class Measured:
    """The measurements of one subject; times in milliseconds, ``serial`` is the rate of requests sent one at a time."""

    first_ms: float | None = None
    floor_ms: float | None = None
    usual_ms: float = 10.0
    serial: float = 0.0
    rate: float | None = None
    runs: list[Times] = field(default_factory=list["Times"])
    single: list[Times] = field(default_factory=list["Times"])
    highest: Highest | None = None
    borne: float = 0.0
    offline_rate: float | None = None
    served: MetricsReport | None = None
    statuses: dict[int, int] = field(default_factory=dict[int, int])
    flags: list[str] = field(default_factory=list[str])
    failed: str = ""

    def add(self, volley: Volley) -> None:
        """Add a run, and count its failed requests by status."""
        self.runs.append(Times.of(volley))
        for status in volley.statuses():
            if not 200 <= status < 300:
                self.statuses[status] = self.statuses.get(status, 0) + 1

    def settle(self, p95_ms: float | None, most_errors: float) -> None:
        """Record the rate of the runs as sustained if all runs together meet the objective."""
        if not self.runs or self.rate is None:
            return
        together = np.concatenate(self.due)
        kept = p95_ms is None or quantile(together, 0.95) <= p95_ms
        if kept and float(np.isinf(together).mean()) <= most_errors:
            self.borne = self.rate

    @property
    def known_rate(self) -> float:
        """The highest known rate; if none met the objective, that of requests sent one at a time."""
        highest = self.highest
        return (highest and (highest.rate or highest.at_least)) or self.serial or 1.0

    @property
    def due(self) -> list[Array]:
        """The times of the runs, each request timed from when it was due."""
        return [run.due for run in self.runs]

    @property
    def sent(self) -> list[Array]:
        """The times of the runs, each request timed from when it was sent."""
        return [run.sent for run in self.runs]


def rate_of(volley: Volley) -> float:
    """Return the answered requests per second of a window; failed requests do not count."""
    answered = sum(200 <= status < 300 for status in volley.statuses())
    return answered / max(1e-9, volley.wall_s)
