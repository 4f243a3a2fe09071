"""The arguments of a comparison as one value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..compare.workload import Workload
    from ..packaging.model import Model
    from .candidates import Wanted
    from .endpoint import Endpoint


@dataclass(frozen=True, slots=True)
class ComparisonRequest:
    """The arguments of ``compare``, checked as far as possible without a target."""

    subject: Model | Mapping[str, Endpoint]
    wanted: Wanted
    workload: Workload
    payloads: Sequence[Any] | None
    labels: Sequence[Any] | None
    confidence: float | None
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
