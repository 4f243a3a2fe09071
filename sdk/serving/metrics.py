"""Counters and histograms in the Prometheus text format.

This is written here instead of taken from a library: two metric kinds with fixed labels are sixty lines, and they cost
one list increment per request.
"""

from __future__ import annotations

import os
import resource
import sys
from bisect import bisect_left
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Seconds; about three buckets per factor of ten, from 100 µs to one minute.
SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_PREDICTIONS = frozenset({"predict", "infer"})
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 1024, 4096, 16384)


class Histogram:
    """A histogram with fixed buckets; `bounds` are inclusive upper bounds."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def counts(self) -> list[int]:
        """Return the number of values in each bucket; the last bucket has no upper bound."""
        return list(self._counts)

    def lines(self, name: str, labels: str = "") -> list[str]:
        """Return the sample lines in the text format; `labels` is `key="value",…` without braces."""
        lines: list[str] = []
        total = 0
        lead = f"{labels}," if labels else ""
        for bound, count in zip((*self._bounds, "+Inf"), self._counts, strict=True):
            total += count
            lines.append(f'{name}_bucket{{{lead}le="{bound}"}} {total}')
        end = f"{{{labels}}}" if labels else ""
        return [*lines, f"{name}_sum{end} {self._sum!r}", f"{name}_count{end} {total}"]


class Metrics:
    """The metrics of one server process."""

    def __init__(self) -> None:
        self.requests: dict[tuple[str, int], int] = {}
        self.seconds: dict[str, Histogram] = {}
        self.model_seconds = Histogram(SECONDS)
        self.rows = Histogram(ROWS)
        self.in_flight = 0
        self.defaults = 0

    def count(self, route: str, status: int, seconds: float) -> None:
        """Count one answered request of a kind of route."""
        key = (route, status)
        self.requests[key] = self.requests.get(key, 0) + 1
        histogram = self.seconds.get(route)
        if histogram is None:
            histogram = self.seconds[route] = Histogram(SECONDS)
        histogram.observe(seconds)

    def render(self, gauges: Mapping[str, tuple[str, float]], histograms: Mapping[str, tuple[str, Histogram]]) -> bytes:
        """Return all metrics as Prometheus text; `gauges` and `histograms` map further names to help text and value."""
        lines = _head("mlport_requests_total", "counter", "Answered requests by route and status.")
        lines += [
            f'mlport_requests_total{{route="{route}",status="{status}"}} {count}'
            for (route, status), count in sorted(self.requests.items())
        ]
        lines += _head("mlport_request_seconds", "histogram", "Time from the request's head to its answer.")
        for route, histogram in sorted(self.seconds.items()):
            lines += histogram.lines("mlport_request_seconds", f'route="{route}"')
        lines += _head("mlport_predict_seconds", "histogram", "Time from queueing to the model's result.")
        lines += self.model_seconds.lines("mlport_predict_seconds")
        lines += _head("mlport_predict_rows", "histogram", "Rows in a prediction request.")
        lines += self.rows.lines("mlport_predict_rows")
        for name, (text, histogram) in histograms.items():
            lines += [*_head(name, "histogram", text), *histogram.lines(name)]
        for name, (text, value) in {
            "mlport_in_flight": ("Requests being handled.", self.in_flight),
            **gauges,
            **_process(),
        }.items():
            kind = "counter" if name.endswith("_total") else "gauge"
            lines += [*_head(name, kind, text), f"{name} {value}"]
        return ("\n".join(lines) + "\n").encode()


class Summary:
    """A periodic summary of the prediction requests, so that rates and latencies can be read from the log alone.

    Bucket counts of several lines, of one server or many, can be added; quantiles cannot.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._counts = [0] * (len(SECONDS) + 1)
        self._statuses: dict[int, int] = {}

    def take(self) -> dict[str, Any] | None:
        """Return the summary since the last call; None without requests."""
        counts, statuses = self._now()
        new = [now - before for now, before in zip(counts, self._counts, strict=True)]
        fresh = {status: count - self._statuses.get(status, 0) for status, count in statuses.items()}
        self._counts, self._statuses = counts, statuses
        if not any(new):
            return None
        bounds = [f"{bound * 1000:g}" for bound in SECONDS] + ["inf"]
        return {
            "requests": sum(new),
            "statuses": {str(status): count for status, count in sorted(fresh.items()) if count},
            **{f"p{q}_ms": quantile_ms(new, q / 100) for q in (50, 95, 99)},
            "le_ms": {bound: count for bound, count in zip(bounds, new, strict=True) if count},
        }

    def _now(self) -> tuple[list[int], dict[int, int]]:
        counts = [0] * (len(SECONDS) + 1)
        statuses: dict[int, int] = {}
        for route in _PREDICTIONS & self._metrics.seconds.keys():
            counts = [one + more for one, more in zip(counts, self._metrics.seconds[route].counts(), strict=True)]
        for (route, status), count in self._metrics.requests.items():
            if route in _PREDICTIONS:
                statuses[status] = statuses.get(status, 0) + count
        return counts, statuses


def quantile_ms(counts: Sequence[int], quantile: float) -> float | None:
    """Return a quantile in milliseconds, interpolated linearly within its bucket; None beyond the last bound.

    Example:
        >>> quantile_ms([0, 0, 0, 0, 100, *[0] * 14], 0.5)  # all between 1 and 2.5 ms
        1.75
    """
    wanted, below = quantile * sum(counts), 0
    for number, count in enumerate(counts[: len(SECONDS)]):
        if count and below + count >= wanted:
            lower = SECONDS[number - 1] if number else 0.0
            return round(1000 * (lower + (SECONDS[number] - lower) * (wanted - below) / count), 3)
        below += count
    return None


def _head(name: str, kind: str, text: str) -> list[str]:
    return [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]


def _process() -> dict[str, tuple[str, float]]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "process_cpu_seconds_total": ("User and system time.", usage.ru_utime + usage.ru_stime),
        "process_resident_memory_bytes": ("Resident memory.", _resident(usage)),
    }


def _resident(usage: resource.struct_rusage) -> int:
    try:
        return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # no /proc: use the peak as the nearest available figure
        return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
