"""The verb that compares."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypedDict, cast, overload

from ..durations import parse_duration
from ..endpoint import Endpoint
from ..errors import ConfigError, MissingExtraError
from ..model import Model
from .base import ClientBase

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Unpack

    from ..compare.comparison import Comparison
    from ..compare.workload import Workload
    from . import Client
    from .candidates import Outlook


@dataclass(frozen=True, slots=True)
class Ask:
    """What the caller of ``compare`` said, checked as far as it can be without a target."""

    subject: Model | Mapping[str, Endpoint]
    targets: tuple[str, ...]
    instances: Mapping[str, str | Sequence[str]] | None
    workload: Workload
    payloads: Sequence[Any] | None
    labels: Sequence[Any] | None
    p95_ms: float | None
    traffic_per_month: float | None
    profile: str | Sequence[float]
    headroom: float
    hardware: Mapping[str, float]
    train_hours: float | None
    budget_usd: float
    allow_unknown_price: bool
    ttl: str | float
    keep: bool
    timeout: str | float | None


class How(TypedDict, total=False):
    """The arguments of a comparison; see :meth:`CompareVerbs.compare`."""

    targets: Sequence[str]
    instances: Mapping[str, str | Sequence[str]] | None
    workload: Workload | Mapping[str, Any] | str | None
    payloads: Sequence[Any] | None
    labels: Sequence[Any] | None
    p95_ms: float | None
    traffic_per_month: float | None
    profile: str | Sequence[float]
    headroom: float
    hardware: Mapping[str, float] | None
    train_hours: float | None
    budget_usd: float
    time_budget: str | float | None
    allow_unknown_price: bool
    ttl: str | float
    keep: bool
    timeout: str | float | None


class CompareVerbs(ClientBase):
    """compare."""

    @overload
    def compare(
        self, model: Model | Mapping[str, Endpoint], *, dry_run: Literal[True], **how: Unpack[How]
    ) -> Outlook: ...
    @overload
    def compare(
        self, model: Model | Mapping[str, Endpoint], *, dry_run: Literal[False] = False, **how: Unpack[How]
    ) -> Comparison: ...
    def compare(
        self,
        model: Model | Mapping[str, Endpoint],
        *,
        targets: Sequence[str] = (),
        instances: Mapping[str, str | Sequence[str]] | None = None,
        workload: Workload | Mapping[str, Any] | str | None = None,
        payloads: Sequence[Any] | None = None,
        labels: Sequence[Any] | None = None,
        p95_ms: float | None = None,
        traffic_per_month: float | None = None,
        profile: str | Sequence[float] = "flat",
        headroom: float = 0.7,
        hardware: Mapping[str, float] | None = None,
        train_hours: float | None = None,
        budget_usd: float = 10.0,
        time_budget: str | float | None = None,
        allow_unknown_price: bool = False,
        ttl: str | float = "3h",
        keep: bool = False,
        timeout: str | float | None = None,
        dry_run: bool = False,
    ) -> Comparison | Outlook:
        """Measures what a model costs and how fast it answers on several targets, side by side.

        Deploys the same model on each, in parallel and with a ttl from the start; warms up, measures, prices, and
        deletes what it made. Needs ``pip install "mlport[compare]"``.

        Args:
            model: The model to deploy, or endpoints that exist, by the names they shall have in the report.
            targets: Targets of the configuration; the default one when left out.
            instances: Instance types by target; the target's own setting when left out.
            workload: A :class:`sdk.compare.workload.Workload` or its fields; ``"quick"`` for a first
                look in two minutes, ``"thorough"`` for long windows however long they take.
            payloads: Inputs of single requests, sent in this order; the rows of the model's example by default.
            labels: What the model should answer, one per row of the payloads: rows of the report then carry a score.
            p95_ms: The latency objective, milliseconds; that of the configuration by default.
            traffic_per_month: Your own requests a month: costs are told for them first.
            profile: When they come: ``"flat"``, ``"day"``, ``"office"``, or 24 or 168 weights of hours.
            headroom: Share of the highest rate that a replica is planned with.
            hardware: US dollars per hour of your own machines, by target.
            train_hours: Also tell what so many hours of training cost there.
            budget_usd: What it may cost at most: estimated before, watched meanwhile.
            time_budget: Seconds, or text such as ``"10m"``, that measuring may take at most, deploying not counted; by
                default that of the workload, five minutes. Less time gives wider intervals.
            allow_unknown_price: Go on although a price is unknown and no budget can be kept.
            ttl: Age at which ``gc --expired`` removes what was made, from any machine.
            keep: Leave the endpoints as they are.
            timeout: Seconds, or text such as ``"30m"``, for each deploy and delete.
            dry_run: Give the :class:`Outlook` and change nothing.

        Raises:
            ConfigError: An argument is wrong, a price is unknown, or the estimate is over the budget.
            MissingExtraError: The libraries that measure are not installed.
        """
        _require_extra()
        from ..compare.workload import Workload
        from .comparing import Comparing

        ask = Ask(
            subject=_checked(model),
            targets=tuple(targets) or (self.session().target,),
            instances=instances,
            workload=_limited(Workload.of(workload), time_budget),
            payloads=payloads,
            labels=labels,
            p95_ms=self.settings.p95_ms.value if p95_ms is None else p95_ms,
            traffic_per_month=traffic_per_month,
            profile=profile,
            headroom=headroom,
            hardware=hardware or {},
            train_hours=train_hours,
            budget_usd=budget_usd,
            allow_unknown_price=allow_unknown_price,
            ttl=ttl,
            keep=keep,
            timeout=timeout,
        )
        comparing = Comparing(cast("Client", self), ask)
        return comparing.outlook() if dry_run else comparing.run()


def _limited(workload: Workload, time_budget: str | float | None) -> Workload:
    """A workload that takes no longer than that."""
    if time_budget is None:
        return workload
    import msgspec

    return msgspec.structs.replace(workload, time_budget=parse_duration(time_budget, field="time_budget"))


def _checked(given: object) -> Model | Mapping[str, Endpoint]:
    if isinstance(given, Model):
        return given
    if isinstance(given, Mapping):
        endpoints = {str(name): one for name, one in cast("dict[Any, Any]", given).items()}
        if endpoints and all(isinstance(one, Endpoint) for one in endpoints.values()):
            return endpoints
    raise ConfigError(
        f"a {type(cast('Any', given)).__name__} cannot be compared",
        hint="give an sdk.Model, such as sdk.model(it, name=…, example=rows), or a mapping of names to endpoints",
    )


def _require_extra() -> None:
    for name in ("numpy", "pyreqwest", "scipy"):
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise MissingExtraError(
                f"compare needs the package {name!r}", hint='run: pip install "mlport[compare]"'
            ) from error
