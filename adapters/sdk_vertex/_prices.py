"""Prices of machines in one region, from the table shipped with the adapter or a refreshed one."""

from __future__ import annotations

from pathlib import Path

from sdk.adapter.prices import find_price, read_prices, refreshed_table

from ._errors import PROVIDER


class Prices:
    """The price table for one region.

    Args:
        region: The region, such as ``europe-west4``.
        state_dir: The folder in which ``mlport prices refresh`` stores a newer table.
    """

    def __init__(self, region: str, state_dir: Path) -> None:
        self.region = region
        self.rows = read_prices(Path(__file__).with_name("prices.csv"), refreshed_table(state_dir, PROVIDER))

    def of(self, instance: str, count: int = 1, *, spot: bool, training: bool = False) -> float | None:
        """Return US dollars per hour, or ``None`` if unknown; spot prices change by the day, so they are unknown."""
        row = find_price(self.rows, instance, region=self.region, usage="training" if training else "inference")
        return None if row is None or row.usd_per_hour is None or spot else row.usd_per_hour * count
