"""The candidates of a comparison: target, instance and price of each, and the estimated time and cost of all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, cast

from ..adapter.prices import find_price
from ..compare.result import Price
from ..errors import ConfigError
from .resolve import RequestedSettings, region_of, resolve

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..adapter import ServiceHost
    from ..adapter.prices import PriceRow
    from ..compare.workload import Workload
    from .resolve import ResolvedSettings
    from .session import Session

Several = Mapping[str, "str | Sequence[str]"]

PROVISION_S = 900.0  # what a cloud usually needs for an endpoint at most; billing starts at some point within it
DELETE_S = 300.0
_MOST = 32


@dataclass(frozen=True, slots=True)
class Candidate:
    """One subject of a comparison, before it is measured.

    Args:
        key: The subject's name in the comparison.
        target: The target in the configuration.
        name: The name of its endpoint.
        instance: The requested instance type.
        order: What will be deployed; ``None`` for an existing endpoint.
        price: The price used for its costs.
        host: Where it runs; a host that is not billed costs nothing.
        region: The platform's name for the region.
    """

    key: str
    target: str
    name: str
    host: ServiceHost
    instance: str | None = None
    order: ResolvedSettings | None = None
    price: Price = field(default_factory=lambda: Price(None))
    region: str = ""

    @property
    def usd_per_hour(self) -> float | None:
        """What the deployment costs per hour while it exists; 0 for an existing endpoint, ``None`` when unknown."""
        return self.order.usd_per_hour if self.order is not None and self.host.billed else 0.0


@dataclass(frozen=True, slots=True)
class Outlook:
    """The plan of a comparison with its maximum time and cost; creating it changes nothing.

    Args:
        candidates: What the comparison would deploy or measure.
        seconds: The total time, provisioning and deletion included.
        usd: The maximum cost; ``None`` when a price is unknown.
        measuring_s: The part of the time that is for measuring.
    """

    candidates: tuple[Candidate, ...]
    seconds: float
    usd: float | None
    measuring_s: float = 0.0

    def __str__(self) -> str:
        from ..compare.report.cells import usd

        lines = [f"  {one.key}: {usd(one.usd_per_hour)}/h{_at(one.host)}" for one in self.candidates]
        return "\n".join([f"compare {self.title}:", *lines])

    @property
    def title(self) -> str:
        """A summary of the maximum time and cost."""
        from ..compare.report.cells import usd

        money = "an unknown amount" if self.usd is None else "nothing" if not self.usd else f"{usd(self.usd)} at most"
        clouds = f" (up to {(PROVISION_S + DELETE_S) / 60:.0f} minutes on a cloud)" if self.usd != 0.0 else ""
        count = len(self.candidates)
        return (
            f"{count} subject{'s' * (count != 1)}: at most {self.measuring_s / 60:.1f} minutes of measuring, "
            f"besides deploying and deleting{clouds}, for {money}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the outlook as plain values."""
        rows = [
            {"key": one.key, "target": one.target, "usd_per_hour": one.usd_per_hour, **asdict(one.host)}
            for one in self.candidates
        ]
        return {"seconds": self.seconds, "measuring_s": self.measuring_s, "usd": self.usd, "candidates": rows}


def _at(host: ServiceHost) -> str:
    """Return the remark after the price: that nothing is billed, and why; empty on a billed host."""
    if host.official:
        return "" if host.billed else " (own machine: nothing is billed)"
    return f" (mini cloud at {host.address}, not the real platform: nothing is billed)"


def outlook(candidates: Sequence[Candidate], workload: Workload) -> Outlook:
    """Return the time and cost of these candidates, if all of them run until the last one is measured."""
    measuring = workload.estimated_s(len(candidates))
    paid = [one for one in candidates if one.usd_per_hour != 0.0]
    seconds = measuring + (PROVISION_S + DELETE_S if paid else 60.0)
    prices = [one.usd_per_hour for one in candidates]
    known = [price for price in prices if price is not None]
    return Outlook(
        tuple(candidates), seconds, sum(known) * seconds / 3600 if len(known) == len(prices) else None, measuring
    )


def check_budget(found: Outlook, budget_usd: float, *, allow_unknown_price: bool) -> None:
    """Check that the estimated cost is within the budget.

    Raises:
        ConfigError: A price is unknown, or the estimate is over the budget.
    """
    unknown = [one.key for one in found.candidates if one.usd_per_hour is None]
    if unknown and not allow_unknown_price:
        raise ConfigError(
            f"the price of {', '.join(unknown)} is unknown, so no budget can be kept",
            hint="run `mlport prices refresh`, name an instance with a known price, or allow_unknown_price=True",
        )
    if found.usd is not None and found.usd > budget_usd:
        raise ConfigError(
            f"the comparison may cost ${found.usd:.2f}, budget_usd is ${budget_usd:.2f}",
            hint="compare fewer targets, use a quicker workload, or raise budget_usd",
        )


def candidate(
    session: Session, name: str, instance: str | None, *, ttl: str | float, hardware_usd: float | None, several: bool
) -> Candidate:
    """Return the candidate that would be deployed on a target."""
    order = resolve(session, RequestedSettings(instance=instance, ttl=ttl), usage="inference")
    table = tuple(session.adapter.prices())
    region = region_of(session)
    key = f"{session.target} {order.instance}" if several and order.instance else session.target
    row = find_price(table, order.instance, region=region) if order.instance else None
    return Candidate(
        key=key,
        target=session.target,
        name=name,
        instance=order.instance,
        order=order,
        price=price_of(row, hardware_usd, own=not table),
        host=session.adapter.service_host(),
        region=region,
    )


def price_of(row: PriceRow | None, hardware_usd: float | None, *, own: bool) -> Price:
    """Return the price to calculate costs with: the user's own if given, else that of the price table."""
    if hardware_usd is not None:
        return Price(hardware_usd, source="given by the user", status="given")
    if row is None:
        return Price(None, source="own hardware, no price given", status="own") if own else Price(None)
    unit = "gb-second" if row.unit == "gb-second" else "hour"
    return Price(
        row.price if row.currency == "USD" else None,
        unit=unit,
        source=row.source,
        as_of=row.as_of,
        status=row.status,
        memory_gb=row.memory_gib if unit == "gb-second" else 0.0,
    )


@dataclass(frozen=True, slots=True)
class Wanted:
    """The targets to compare, and by target the instance types and regions to try there."""

    targets: tuple[str, ...]
    instances: Several
    regions: Several


def wanted_of(
    targets: Sequence[str] | Mapping[str, Several], instances: Several | None, regions: Several | None
) -> Wanted:
    """Return targets, instance types and regions, also of targets that are given with both of these.

    Raises:
        ConfigError: A target is given with anything else.

    Example:
        >>> wanted_of({"aws": {"region": ["eu-west-1", "us-east-1"]}, "gcp": {}}, None, None)
        Wanted(targets=('aws', 'gcp'), instances={}, regions={'aws': ['eu-west-1', 'us-east-1']})
    """
    kinds, places = dict(instances or {}), dict(regions or {})
    if isinstance(targets, Mapping):
        for target, given in targets.items():
            _check_target(target, given)
            kinds |= {target: given["instance"]} if "instance" in given else {}
            places |= {target: given["region"]} if "region" in given else {}
    return Wanted(tuple(targets), kinds, places)


def _check_target(target: str, given: object) -> None:
    """Raise an error for a target that is given with anything but regions and instance types."""
    hint = "give region and instance, such as {'region': ['eu-west-1']}; the rest is configuration"
    if not isinstance(given, Mapping):
        raise ConfigError(f"targets: {target!r} has {given!r}", hint=hint)
    if strange := sorted(map(str, {*cast("Iterable[Any]", given)} - {"region", "instance"})):
        raise ConfigError(f"targets: {target!r} has {strange[0]!r}", hint=hint)


def _several(field_: str, given: Several, targets: Sequence[str]) -> dict[str, list[str]]:
    """Return the values of each target as a list."""
    if strange := sorted(set(given) - set(targets)):
        raise ConfigError(f"{field_} names {strange[0]!r}, which is not among the targets")
    found: dict[str, list[str]] = {}
    for name, values in given.items():
        listed = _texts([values] if isinstance(values, str) else values)
        if listed is None or len(set(listed)) < len(listed):
            raise ConfigError(f"{field_}: {name!r} has {values!r}", hint="name each one once")
        found[name] = listed
    return found


def _texts(values: object) -> list[str] | None:
    """Return a list of texts, of which none is empty; ``None`` for anything else."""
    if not isinstance(values, list | tuple):
        return None
    items = list(cast("Sequence[Any]", values))
    return items if all(isinstance(one, str) and one for one in items) else None


def spread(wanted: Wanted) -> list[tuple[str, str | None, bool]]:
    """Return each target in each region with each instance type, and whether it has several instance types.

    Raises:
        ConfigError: There is nothing or too much to compare, ``instances`` or ``regions`` names a target that is not
            compared, or something is named twice.

    Example:
        >>> spread(Wanted(("aws",), {"aws": "m5"}, {"aws": ["eu-west-1", "us-east-1"]}))
        [('aws@eu-west-1', 'm5', False), ('aws@us-east-1', 'm5', False)]
    """
    targets = wanted.targets
    kinds, places = _several("instances", wanted.instances, targets), _several("regions", wanted.regions, targets)
    if len(set(targets)) < len(targets):
        raise ConfigError("targets names one twice", hint="several instance types of one target go into instances=")
    found = [
        (f"{target}@{place}" if place else target, kind, len(kinds.get(target, [])) > 1)
        for target in targets
        for place in places.get(target, [""])
        for kind in kinds.get(target, [None])
    ]
    if not 1 <= len(found) <= _MOST:
        raise ConfigError(f"{len(found)} things to compare", hint=f"give 1 to {_MOST}")
    return found
