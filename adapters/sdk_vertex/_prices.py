"""What a machine costs in one region, from the table that came with the adapter or the one fetched since."""

from __future__ import annotations

from pathlib import Path

from sdk.prices import find_price, read_prices, refreshed_table

from ._errors import PROVIDER


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
