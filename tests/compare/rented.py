"""The local target with a price list, as if its processes ran on rented machines."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sdk.adapter import YES, Capability, ServiceHost
from sdk.adapter.prices import PriceRow
from sdk_local import LocalAdapter

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from sdk.adapter import EndpointSpec, Resource, Support

SMALL = 3.6
TRAINING = 7.2


def _row(usage: str, kind: str, price: float | None) -> PriceRow:
    return PriceRow("rented", "", usage, kind, 2, 4.0, "", 0, price, "a test", "2026-11", "quoted")


class Rented(LocalAdapter):
    """``small`` has a price, ``mystery`` has none."""

    @classmethod
    def capabilities(cls, options: Any | None = None) -> Mapping[Capability, Support]:
        """Those of a place that has instance types."""
        return {**super().capabilities(options), Capability.INSTANCES: YES}

    def resources(self, spec: EndpointSpec) -> Sequence[Resource]:
        """The processes of this machine, whatever they are called."""
        plain = tuple(replace(one, instance=None) for one in spec.deployments)
        return super().resources(replace(spec, deployments=plain))

    def service_host(self) -> ServiceHost:
        """A platform of its own, which charges."""
        return ServiceHost("rented.example", official=True, billed=True)

    def prices(self) -> Iterable[PriceRow]:
        """Dollars an hour."""
        return (
            _row("inference", "small", SMALL), _row("training", "small", TRAINING), _row("inference", "mystery", None)
        )  # fmt: skip
