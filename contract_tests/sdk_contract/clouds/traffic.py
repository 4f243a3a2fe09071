"""What passed through a mini cloud: requests per deployment for its metrics, and the output of its containers."""

from __future__ import annotations

import math
import threading
from collections import defaultdict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence

    from .runners.base import Running

Statistic = Literal["sum", "average", "minimum", "maximum", "count"]
_KEPT = 200_000


@dataclass(frozen=True, slots=True)
class Sample:
    """One request: Unix time of its end, HTTP status of the container, seconds in the container and around it."""

    at: float
    status: int
    model_s: float
    overhead_s: float = 0.0


class Traffic:
    """The latest requests of each deployment.

    Example:
        >>> traffic = Traffic()
        >>> traffic.add("blue", Sample(at=100.0, status=200, model_s=0.25))
        >>> [sample.status for sample in traffic.between("blue", 0, 200)]
        [200]
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._samples: dict[Hashable, deque[Sample]] = defaultdict(lambda: deque(maxlen=_KEPT))

    def add(self, deployment: Hashable, sample: Sample) -> None:
        """Add one request."""
        with self._lock:
            self._samples[deployment].append(sample)

    def between(self, deployment: Hashable, start: float, end: float) -> list[Sample]:
        """Return the requests that ended in ``[start, end)``."""
        with self._lock:
            return [sample for sample in self._samples.get(deployment, ()) if start <= sample.at < end]

    def deployments(self) -> list[Hashable]:
        """Return the deployments that have had requests."""
        with self._lock:
            return list(self._samples)

    def forget(self, deployment: Hashable) -> None:
        """Remove all requests of one deployment."""
        with self._lock:
            self._samples.pop(deployment, None)


def statistic(values: Sequence[float], wanted: Statistic) -> float:
    """Compute one statistic of some values, of which there is at least one."""
    if wanted == "count":
        return float(len(values))
    if wanted == "sum":
        return math.fsum(values)
    if wanted == "average":
        return math.fsum(values) / len(values)
    return min(values) if wanted == "minimum" else max(values)


def percentile(values: Sequence[float], percent: float) -> float:
    """Compute a percentile by linear interpolation between the two nearest values.

    Example:
        >>> percentile([1.0, 2.0, 3.0, 4.0, 5.0], 90)
        4.6
    """
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


class Collector:
    """Copies the output of containers to where a cloud keeps logs, each line once, in the background.

    Args:
        deliver: Called with a key and new lines, each with its Unix time.
        every_s: Pause between two collections.
    """

    def __init__(self, deliver: Callable[[str, list[tuple[float, str]]], None], *, every_s: float = 0.2) -> None:
        self._deliver, self._every_s = deliver, every_s
        self._lock = threading.RLock()
        self._sources: dict[str, tuple[Running, int]] = {}
        self._wake = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None

    def watch(self, key: str, running: Running) -> None:
        """Collect a container's output from now on."""
        with self._lock:
            self._sources[key] = (running, 0)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="mini-cloud-logs", daemon=True)
                self._thread.start()

    def collect(self, keys: Iterable[str] | None = None) -> None:
        """Deliver everything that was written so far; used before a log is read, so that the reader need not wait."""
        with self._lock:
            for key in list(self._sources if keys is None else keys):
                found = self._sources.get(key)
                if found is None:
                    continue
                running, seen = found
                ended = running.exit_code is not None
                lines = running.logs()
                if len(lines) > seen:
                    self._deliver(key, lines[seen:])
                if ended:
                    self._sources.pop(key, None)
                else:
                    self._sources[key] = (running, len(lines))

    def close(self) -> None:
        """Stop collecting; output that was not delivered by now is lost."""
        self._closed = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(5)

    def _run(self) -> None:
        while not self._closed:
            self.collect()
            self._wake.wait(self._every_s)
