"""The result of a comparison: plain values in a versioned schema, so that it can be saved and shown again later."""

from __future__ import annotations

from typing import Literal

import msgspec

from .search import Highest
from .stats import Estimate

SCHEMA: Literal["mlport.compare/1"] = "mlport.compare/1"


class Price(msgspec.Struct, frozen=True):
    """The price that was used, saved with the result, so that a later price table does not change an old report.

    Args:
        amount: Price of one ``unit`` in US dollars; ``None`` when unknown, which is never treated as 0.
        unit: ``"hour"`` of one replica, or ``"gb-second"`` of a serverless one.
        source: Where the price comes from.
        as_of: When the price was read there.
        status: How reliable the price is.
        memory_gb: The memory that a serverless replica is billed for.
    """

    amount: float | None
    unit: str = "hour"
    source: str = ""
    as_of: str = ""
    status: str = "unknown"
    memory_gb: float = 0.0

    @property
    def approximate(self) -> bool:
        """Whether the price is calculated by a formula instead of taken from a price list."""
        return "derived" in self.status

    @property
    def usd_per_hour(self) -> float | None:
        """The price of an hour; ``None`` if the price is unknown or of another unit."""
        return self.amount if self.unit == "hour" else None


class Cost(msgspec.Struct, frozen=True):
    """The cost of a subject, at the user's own traffic and at saturation.

    Args:
        usd_per_month: The cost of a month of 730 hours at that traffic.
        usd_per_1k: The cost of 1,000 requests at that traffic.
        usd_per_1k_full: The cost of 1,000 requests when the subject is always as busy as the objective allows: a lower
            bound.
        idle_usd_per_month: The cost of a month without requests.
        peak_replicas: Replicas in the busiest hour.
        utilisation: The used share of the replicas' capacity.
        approximate: Whether the price is calculated by a formula.
        note: What is unknown, or does not fit the traffic.
        at_most: Whether the cost at the traffic is an upper bound: higher rates than ``Highest.at_least`` may be
            sustained, and the traffic needs more replicas than always run.
    """

    usd_per_month: float | None = None
    usd_per_1k: float | None = None
    usd_per_1k_full: float | None = None
    idle_usd_per_month: float | None = None
    peak_replicas: int | None = None
    utilisation: float | None = None
    approximate: bool = False
    note: str = ""
    at_most: bool = False


class Training(msgspec.Struct, frozen=True):
    """The cost of training for some hours on an instance type."""

    instance: str
    hours: float
    usd: float | None
    price: Price


class Score(msgspec.Struct, frozen=True):
    """The quality of the answers, measured on the given labels."""

    name: Literal["accuracy", "r2"]
    value: float
    count: int


class Effort(msgspec.Struct, frozen=True):
    """What a deploy took: its steps on the platform (each resource made or changed), and the seconds of waiting."""

    steps: int
    wait_s: float | None = None


class Automation(msgspec.Struct, frozen=True):
    """How much can be left to the model: the answers whose highest probability reaches a threshold.

    Args:
        confidence: The threshold.
        share: The share of the rows that reach it.
        count: The number of rows.
        right: The share of right answers among those that reach it, if there are labels and such answers.
    """

    confidence: float
    share: float
    count: int
    right: float | None = None


class Served(msgspec.Struct, frozen=True):
    """The latency that the target itself reports, in milliseconds, and the points between which it measures."""

    scope: str
    method: str
    count: int
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """The results of one subject. Latencies are in milliseconds; a ``failed`` subject has none.

    Args:
        key: The subject's name in this comparison.
        target: The target in the configuration.
        provider: The target's provider.
        endpoint: The name of the endpoint.
        region: The platform's name for the region; empty where there is none.
        instance: The instance type.
        replicas: The minimum and maximum number of replicas.
        price: The price that was used.
        deploy_s: Seconds from the request to deploy until the endpoint was ready; ``None`` for an existing endpoint.
        first_ms: The first request over a new connection, which includes the cold start of the client and of a
            serverless target.
        delete_s: Seconds from the request to delete until the endpoint was gone.
        floor_ms: The shortest TCP connect: the minimum of a network round trip.
        rate: Requests per second of the runs that ``latency`` is based on.
        utilisation: That rate as a share of the subject's highest rate.
        latency: Quantiles ``"p50"``, ``"p90"``, ``"p95"``, ``"p99"`` (``"p99.9"``) at that rate.
        single: The same with one request at a time.
        highest: The highest rate under the objective.
        offline_rate: Requests per second with many in flight.
        served: The latency that the target itself reports.
        requests: The number of requests in the runs.
        errors: The number of failed requests by status (``"0"``: no answer).
        tail: The distribution: (milliseconds, share of the requests that took longer).
        flags: Problems of the measurement.
        repeated: In older results, the number of windows measured again because the generator had been late.
        cost: The cost of serving.
        training: The cost of training on this target.
        score: The quality of the answers.
        effort: What the deploy took; ``None`` for an existing endpoint.
        automation: The share of rows answered above the requested confidence; ``None`` without probabilities.
        failed: Why the subject has no figures; empty if it has.
        invalid: In older results, why the figures must not be used. Today, the intervals include the generator's delay.
        host: The host that the calls went to.
        official: Whether the host is the platform itself, not a substitute such as a mini cloud; ``None`` if not
            recorded.
        billed: Whether the owner of the host charges for it; ``None`` if not recorded.
    """

    key: str
    target: str
    provider: str
    endpoint: str
    host: str = ""
    official: bool | None = None
    billed: bool | None = None
    region: str = ""
    instance: str | None = None
    replicas: tuple[int, int] = (1, 1)
    price: Price = Price(None)
    deploy_s: float | None = None
    first_ms: float | None = None
    delete_s: float | None = None
    floor_ms: float | None = None
    rate: float | None = None
    utilisation: float | None = None
    latency: dict[str, Estimate] = {}  # msgspec copies it
    single: dict[str, Estimate] = {}
    highest: Highest | None = None
    offline_rate: float | None = None
    served: Served | None = None
    requests: int = 0
    errors: dict[str, int] = {}
    tail: tuple[tuple[float, float], ...] = ()
    flags: tuple[str, ...] = ()
    repeated: int = 0
    cost: Cost = Cost()
    training: Training | None = None
    score: Score | None = None
    effort: Effort | None = None
    automation: Automation | None = None
    failed: str = ""
    invalid: tuple[str, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether the subject has valid figures that conclusions may be based on."""
        return not (self.failed or self.invalid)

    @property
    def simulated(self) -> bool:
        """Whether a substitute was measured, not the platform itself."""
        return self.official is False

    @property
    def error_share(self) -> float:
        """The share of the requests that failed."""
        return sum(self.errors.values()) / self.requests if self.requests else 0.0

    def ms(self, name: str) -> float | None:
        """Return a quantile at the common rate, such as ``ms("p95")``."""
        found = self.latency.get(name)
        return None if found is None else found.value


class Pair(msgspec.Struct, frozen=True):
    """The difference in latency of one subject to another in milliseconds, from runs made in turns."""

    one: str
    other: str
    quantile: str
    difference: Estimate


class Best(msgspec.Struct, frozen=True):
    """The recommended subject, and why."""

    key: str
    target: str
    usd_per_1k: float | None
    p95_ms: float | None
    reason: str


class BreakEven(msgspec.Struct, frozen=True):
    """The number of requests per month below which the serverless subject is cheaper than the other one."""

    serverless: str
    other: str
    per_month: float


class Place(msgspec.Struct, frozen=True):
    """The machine that the measurements were made from."""

    host: str
    system: str
    processors: int
    mlport: str
