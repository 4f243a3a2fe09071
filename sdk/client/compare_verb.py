"""The verb that compares targets."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, TypedDict, cast, overload

from ..errors import ConfigError, MissingExtraError
from ..packaging.model import Model
from ..util.durations import parse_duration
from .comparison_request import ComparisonRequest
from .deploy import ChangeVerbs
from .endpoint import Endpoint

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Unpack

    from ..compare.comparison import Comparison
    from ..compare.workload import Workload
    from .candidates import Outlook, Several


class CompareArguments(TypedDict, total=False):
    """The arguments of a comparison; see :meth:`CompareVerbs.compare`."""

    targets: Sequence[str] | Mapping[str, Several]
    instances: Several | None
    regions: Several | None
    workload: Workload | Mapping[str, Any] | str | None
    payloads: Sequence[Any] | None
    labels: Sequence[Any] | None
    confidence: float | None
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


class CompareVerbs(ChangeVerbs):
    """The verb ``compare``."""

    @overload
    def compare(
        self, model: Model | Mapping[str, Endpoint], *, dry_run: Literal[True], **how: Unpack[CompareArguments]
    ) -> Outlook: ...
    @overload
    def compare(
        self, model: Model | Mapping[str, Endpoint], *, dry_run: Literal[False] = False, **how: Unpack[CompareArguments]
    ) -> Comparison: ...
    def compare(
        self,
        model: Model | Mapping[str, Endpoint],
        *,
        targets: Sequence[str] | Mapping[str, Several] = (),
        instances: Several | None = None,
        regions: Several | None = None,
        workload: Workload | Mapping[str, Any] | str | None = None,
        payloads: Sequence[Any] | None = None,
        labels: Sequence[Any] | None = None,
        confidence: float | None = None,
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
        """Measure what a model costs and how fast it answers on several targets, side by side.

        Deploys the same model on each target, in parallel and with a ttl from the start, warms it up, measures it,
        calculates the costs, and deletes what it created. Needs ``pip install "mlport[compare]"``.

        Args:
            model: The model to deploy, or existing endpoints by their names for the report.
            targets: Targets in the configuration; the default target when left out. A mapping such as
                ``{"aws": {"region": ["us-east-1", "eu-west-1"], "instance": ["ml.m5.large", "ml.c5.large"]}}`` compares
                each region with each instance type.
            instances: Instance types by target; by default the one in the target's settings.
            regions: Regions by target; by default the one in the target's settings.
            workload: A :class:`sdk.compare.workload.Workload` or its fields; ``"quick"`` for a first
                impression in two minutes, ``"thorough"`` for long windows without a time limit.
            payloads: The inputs of single requests, sent in this order; the rows of the model's example by default.
            labels: The expected answers, one per row of the payloads; the rows of the report then have a score.
            confidence: Also report the share of rows that are answered with at least this probability.
            p95_ms: The latency objective in milliseconds; that of the configuration by default.
            traffic_per_month: Your own requests per month; costs are then calculated for this traffic first.
            profile: The distribution of the requests: ``"flat"``, ``"day"``, ``"office"``, or 24 or 168 hourly weights.
            headroom: The share of the highest rate that a replica is planned to serve.
            hardware: The price of your own machines in US dollars per hour, by target.
            train_hours: Also report the cost of so many hours of training.
            budget_usd: The maximum cost: estimated before the comparison and checked during it.
            time_budget: The maximum time for measuring, without deploying: seconds, or text such as ``"10m"``; by
                default that of the workload, five minutes. Less time gives wider intervals.
            allow_unknown_price: Continue although a price is unknown and the budget cannot be enforced.
            ttl: The age at which ``gc --expired`` removes the endpoints, from any machine.
            keep: Do not delete the endpoints.
            timeout: Seconds, or text such as ``"30m"``, for each deploy and delete.
            dry_run: Return the :class:`Outlook` and change nothing.

        Raises:
            ConfigError: An argument is wrong, a price is unknown, or the estimate is over the budget.
            MissingExtraError: The libraries for measuring are not installed.
        """
        _require_extra()
        from ..compare.workload import Workload
        from .run_comparison import Comparing, wanted_of

        ask = ComparisonRequest(
            subject=_checked(model),
            wanted=wanted_of(targets or (self.session().target,), instances, regions),
            workload=_limited(Workload.of(workload), time_budget),
            payloads=payloads,
            labels=labels,
            confidence=_share("confidence", confidence),
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
        comparing = Comparing(self, ask)
        return comparing.outlook() if dry_run else comparing.run()


def _share(name: str, given: float | None) -> float | None:
    if given is not None and not 0 < given <= 1:
        raise ConfigError(f"{name} = {given!r} is not a share above 0 and up to 1", hint=f"write it like {name}=0.9")
    return given


def _limited(workload: Workload, time_budget: str | float | None) -> Workload:
    """Return the workload with another time budget, if one is given."""
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
