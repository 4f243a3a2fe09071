"""What a comparison found: plain values in a schema with a version, so that it can be kept and shown again later."""

from __future__ import annotations

from typing import Literal

import msgspec

from .search import Highest
from .stats import Estimate

SCHEMA: Literal["mlport.compare/1"] = "mlport.compare/1"


class Price(msgspec.Struct, frozen=True):
    """The price that was used, kept with the result: next year's table does not change last year's report.

    Args:
        amount: Price of one ``unit`` in US dollars; ``None`` when unknown, which is never taken for 0.
        unit: ``"hour"`` of one replica, or ``"gb-second"`` of a serverless one.
        source: Where it comes from.
        as_of: When it was seen there.
        status: How sure it is.
        memory_gb: What a serverless replica is billed for.
    """

    amount: float | None
    unit: str = "hour"
    source: str = ""
    as_of: str = ""
    status: str = "unknown"
    memory_gb: float = 0.0

    @property
    def approximate(self) -> bool:
        """Whether it comes out of a formula instead of a price list."""
        return "derived" in self.status

    @property
    def usd_per_hour(self) -> float | None:
        """The price of an hour, where it is one."""
        return self.amount if self.unit == "hour" else None


class Cost(msgspec.Struct, frozen=True):
    """What a subject costs, first at the user's own traffic.

    Args:
        usd_per_month: A month of 730 hours at that traffic.
        usd_per_1k: The same for 1,000 requests.
        usd_per_1k_full: For 1,000 requests when the subject is always as busy as the objective allows: a lower bound.
        idle_usd_per_month: Before the first request.
        peak_replicas: Replicas in the busiest hour.
        utilisation: Share of what the replicas could do that is used.
        approximate: Whether the price comes out of a formula.
        note: What is unknown, or does not fit.
        at_most: Whether the cost at the traffic may be lower: more was not tried than ``Highest.at_least``, and the
            traffic needs more than what always runs is known to bear.
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
    """What training for some hours costs there."""

    instance: str
    hours: float
    usd: float | None
    price: Price


class Score(msgspec.Struct, frozen=True):
    """How right the answers are, on the labels that were given."""

    name: Literal["accuracy", "r2"]
    value: float
    count: int


class Served(msgspec.Struct, frozen=True):
    """What the target itself says of its latency, in milliseconds, and between which points it measures."""

    scope: str
    method: str
    count: int
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One subject. Latencies are in milliseconds; those of ``failed`` ones are empty.

    Args:
        key: Its name in this comparison.
        target: Target of the configuration.
        provider: Its provider.
        endpoint: Name of the endpoint.
        region: The platform's name of the region; empty where there is none.
        instance: Instance type.
        replicas: Least and most copies.
        price: The price that was used.
        deploy_s: From asking for it until it was ready; ``None`` for an endpoint that was there before.
        first_ms: The first request over a fresh connection: the cold start of the client's side, and of a serverless
            target.
        delete_s: From asking for its end until it was gone.
        floor_ms: The shortest TCP connect: what the way there and back costs at least.
        rate: Requests per second of the runs behind ``latency``.
        utilisation: The share of its highest rate that this is.
        latency: Quantiles ``"p50"``, ``"p90"``, ``"p95"``, ``"p99"`` (``"p99.9"``) at that rate.
        single: The same with one request at a time.
        highest: The highest rate under the objective.
        offline_rate: Requests per second with many in flight.
        served: What the target says of its latency.
        requests: Requests of the runs.
        errors: How many failed, by status (``"0"``: no answer).
        tail: The distribution: (milliseconds, share of the requests that took longer).
        flags: What is wrong with the measurement.
        repeated: In older results: windows that were measured again because the generator had been late.
        cost: What it costs.
        training: What training costs there.
        score: How right its answers are.
        failed: Why there are no figures.
        invalid: In older results: why the figures must not be used. Today the intervals hold the generator's delay.
        host: Host that the calls went to.
        official: Whether that is the platform itself, not a substitute such as a mini cloud; ``None``: not recorded.
        billed: Whether the owner of the host charges for it; ``None``: not recorded.
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
    failed: str = ""
    invalid: tuple[str, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether there are figures, and a conclusion may rest on them."""
        return not (self.failed or self.invalid)

    @property
    def simulated(self) -> bool:
        """Whether a substitute was measured, not the platform itself."""
        return self.official is False

    @property
    def error_share(self) -> float:
        """Share of the requests that failed."""
        return sum(self.errors.values()) / self.requests if self.requests else 0.0

    def ms(self, name: str) -> float | None:
        """A quantile at the common rate, such as ``ms("p95")``."""
        found = self.latency.get(name)
        return None if found is None else found.value


class Pair(msgspec.Struct, frozen=True):
    """How much slower one subject is than another, in milliseconds, by runs taken in turns."""

    one: str
    other: str
    quantile: str
    difference: Estimate


class Best(msgspec.Struct, frozen=True):
    """The subject to take, and why."""

    key: str
    target: str
    usd_per_1k: float | None
    p95_ms: float | None
    reason: str


class BreakEven(msgspec.Struct, frozen=True):
    """Below so many requests a month the serverless subject is the cheaper one."""

    serverless: str
    other: str
    per_month: float


class Place(msgspec.Struct, frozen=True):
    """Where it was measured from."""

    host: str
    system: str
    processors: int
    mlport: str
