"""Single windows of requests: their preparation and their evaluation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from .load import Shot
from .search import RateTrial
from .stats import quantile

if TYPE_CHECKING:
    import numpy.typing as npt

    from .load import Volley

    Array = npt.NDArray[np.float64]

_MOST_CONNECTIONS = 256
_NOT_SENT = {"host", "content-length", "connection", "transfer-encoding"}  # the generator's client sets these headers
_LONG = 10  # multiple of the objective: in such a window, a queue with a tenth too many requests reaches it
_GROWTH, _BACKLOG = 0.02, 8  # a smaller growth, as a share of the rate, or backlog in requests is chance
_SENT = 0.95  # minimum share of the requested rate; below it, the window shows another rate


@dataclass(frozen=True, slots=True)
class Times:
    """Two bounds of the milliseconds of each request; infinite for one that failed.

    Args:
        due: The time from when each request was due, which includes the generator's own delay.
        sent: The time from when each was sent, without that delay and the time to open connections in the window.
    """

    due: Array
    sent: Array

    @classmethod
    def of(cls, volley: Volley) -> Self:
        """Return the times of a window."""
        took, lag = (np.frombuffer(series, dtype=np.float64) * 1000 for series in (volley.took, volley.lag))
        status = np.frombuffer(volley.status, dtype=np.uint16)
        good = (status >= 200) & (status < 300)
        due = np.where(good, took, np.inf)
        sent = np.where(good, took - np.maximum(lag, 0.0), np.inf)
        return cls(due, _without_connecting(sent, volley.opened))


def _without_connecting(times: Array, opened: int) -> Array:
    """Return lower bounds of the times, since the longest may include the wait for a new connection."""
    good = np.flatnonzero(np.isfinite(times))
    if not opened or not good.size:
        return times
    longest = good[np.argsort(times[good])[-opened:]]
    least = times.copy()
    least[longest] = times[good].min()
    return least


def connections(rate: float, usual_ms: float) -> int:
    """Return how many connections to open before a window, so that hardly any is opened in it.

    Little's law gives the average number of requests in flight. Since arrivals are random, four standard deviations of
    a Poisson distribution are added, and a few connections for bursts at low rates.

    Args:
        rate: Requests per second.
        usual_ms: The time in milliseconds within which nearly all requests are answered.

    Example:
        >>> connections(20.0, 80.0), connections(1_000.0, 10.0)
        (11, 27)
    """
    in_flight = rate * usual_ms / 1000
    return min(_MOST_CONNECTIONS, math.ceil(in_flight + 4 * math.sqrt(in_flight)) + 4)


def likely_rate(serial: float, usual_ms: float, p95_ms: float | None) -> float:
    """Return a rate that a target probably sustains even if it answers one request at a time.

    The closer the objective is to the time of a single request, the less waiting time it allows.

    Args:
        serial: Requests per second when sent one at a time.
        usual_ms: The time in milliseconds within which nearly all requests are answered.
        p95_ms: The latency objective in milliseconds.

    Example:
        >>> likely_rate(100.0, 10.0, 100.0), likely_rate(20.0, 50.0, 100.0)
        (50.0, 3.0)
    """
    room = math.inf if p95_ms is None else (p95_ms - usual_ms) / usual_ms
    return serial * min(0.5, max(0.05, 0.15 * room))


def shot(request: Any) -> Shot:
    """Return a signed request in the form that the generator sends."""
    headers = {name: value for name, value in request.headers.items() if name.lower() not in _NOT_SENT}
    return Shot(headers, request.content)


def judged(volley: Volley, rate: float, p95_ms: float | None, most_errors: float) -> RateTrial:
    """Return the result of a window for its rate; ``"spoiled"`` if it depends on the generator's own delay."""
    times = Times.of(volley)
    if reason := _overloaded(volley, times, rate, most_errors) or _growing(volley, rate, p95_ms):
        return RateTrial(rate, "missed", reason)
    if (share := _sent_share(volley)) < _SENT:
        return RateTrial(rate, "spoiled", f"the load generator sent {share * rate:.4g} of {rate:.4g} requests/s")
    if p95_ms is None:
        return RateTrial(rate, "passed")
    least, most = quantile(times.sent, 0.95), quantile(times.due, 0.95)
    if least > p95_ms:
        return RateTrial(rate, "missed", f"p95 {least:.1f} ms is over {p95_ms:g} ms at {rate:.4g}/s")
    if most > p95_ms:
        return RateTrial(
            rate, "spoiled", f"p95 {least:.1f} to {most:.1f} ms at {rate:.4g}/s: the load generator was late"
        )
    return RateTrial(rate, "passed")


def _overloaded(volley: Volley, times: Times, rate: float, most_errors: float) -> str:
    """Return why a rate is too high for any objective; empty when it is not."""
    if volley.count < volley.planned and not volley.outcome:
        return f"{volley.backlog} requests were waiting for an answer at {rate:.4g}/s"
    failed = float(np.isinf(times.due).mean())
    if failed > most_errors:
        return f"{failed:.2%} of the requests failed at {rate:.4g}/s"
    return ""


def _growing(volley: Volley, rate: float, p95_ms: float | None) -> str:
    """Return that the backlog grew, if the window was too short for the queue to reach the objective; else empty."""
    long = p95_ms is not None and volley.seconds("due")[-1] >= _LONG * p95_ms / 1000
    if long or volley.grew <= _GROWTH * rate or volley.backlog < _BACKLOG:
        return ""
    return f"the backlog grew by {volley.grew:.3g} a second at {rate:.4g}/s"


def _sent_share(volley: Volley) -> float:
    """Return the share of the requested rate that was sent, from the delay of the last tenth of the requests."""
    lag, due = volley.seconds("lag"), volley.seconds("due")
    late = sorted(lag[-math.ceil(len(lag) / 10) :])
    return due[-1] / max(1e-9, due[-1] + max(0.0, late[len(late) // 2]))
