"""The settings of a Shelf target."""

from pydantic import Field

from sdk.adapter import TargetOptions


class ShelfOptions(TargetOptions):
    """The settings that every target has, plus the address and the price of the platform."""

    url: str = Field(description="address of the Shelf, such as http://127.0.0.1:8000")
    usd_per_hour: float | None = Field(default=None, ge=0, description="what a deployment costs; unknown if not given")
