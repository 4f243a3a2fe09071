"""What a machine costs in one region, from the table that came with the adapter or the one fetched since."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sdk.prices import find_price, read_prices, refreshed_table

from ._errors import PROVIDER
from ._machines import machine_spec

if TYPE_CHECKING:
    from sdk.adapter import Live


class Prices:
    """The price table, asked for one region.

    Args:
        region: Such as ``europe-west4``.
        state_dir: Where ``mlport prices refresh`` leaves a newer table.
    """

    def __init__(self, region: str, state_dir: Path) -> None:
        self.region = region
        self.rows = read_prices(Path(__file__).with_name("prices.csv"), refreshed_table(state_dir, PROVIDER))

    def of(self, instance: str, count: int = 1, *, spot: bool, training: bool = False) -> float | None:
        """Dollars per hour, ``None`` when unknown; what spare capacity costs changes by the day, so it is unknown."""
        row = find_price(self.rows, instance, region=self.region, usage="training" if training else "inference")
        return None if row is None or row.usd_per_hour is None or spot else row.usd_per_hour * count

    def cores(self, live: Live) -> float:
        """Processors of one replica, from the table or from the name of its machine."""
        instance = str((live.spec or {}).get("instance"))
        row = next((row for row in self.rows if row.instance_type == instance), None)
        size = str(machine_spec(instance)["machine_type"]).rpartition("-")[2]
        return row.vcpu if row else float(size) if size.isdigit() else 1.0
