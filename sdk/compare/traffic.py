"""The traffic of a user: the number of requests per month and their distribution over the week."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from ..errors import ConfigError
from ..util.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

HOURS_PER_MONTH = 730.0
_WEEK = 168


class Traffic(msgspec.Struct, frozen=True):
    """The requests per month, and their share in each hour of the week (168 weights from Monday 00:00, sum 1).

    Example:
        >>> Traffic.of(730_000, "flat").rates()[0] * 3600
        1000.0
    """

    per_month: float
    weights: tuple[float, ...]
    profile: str = "flat"

    @classmethod
    def of(cls, per_month: float, profile: str | Sequence[float] = "flat") -> Traffic:
        """Return a traffic from a named profile, or from 24 or 168 weights.

        Args:
            per_month: Requests in a month of 730 hours.
            profile: ``"flat"``, ``"day"`` (a wave with its peak at 15:00), ``"office"`` (Monday to Friday, nine to
                six), or weights of the hours of a day or a week, in any unit.

        Raises:
            ConfigError: The profile or ``per_month`` is invalid.
        """
        if not 0 < per_month < math.inf:
            raise ConfigError(f"traffic_per_month = {per_month!r} is not a number above 0")
        if isinstance(profile, str):
            if profile not in _PROFILES:
                raise ConfigError(f"profile = {profile!r} is unknown", hint=did_you_mean(profile, _PROFILES))
            weights, name = _PROFILES[profile], profile
        else:
            weights, name = _weights(profile), "own"
        total = sum(weights)
        return cls(float(per_month), tuple(weight / total for weight in weights), name)

    def rates(self) -> list[float]:
        """Return the requests per second in each hour of the week."""
        per_week = self.per_month * _WEEK / HOURS_PER_MONTH
        return [per_week * weight / 3600 for weight in self.weights]


def _weights(given: Sequence[float]) -> list[float]:
    found = list(given)
    if len(found) not in {24, _WEEK}:
        raise ConfigError(f"profile has {len(found)} weights", hint="give 24 (hours of a day) or 168 (of a week)")
    if any(not 0 <= weight < math.inf for weight in found) or sum(found) <= 0:
        raise ConfigError("profile has a weight that is no number from 0 on, or only zeros")
    return found * (_WEEK // len(found))


def _wave(hour: int) -> float:
    return 1.0 + 0.8 * math.cos((hour % 24 - 15) * 2 * math.pi / 24)


def _office(hour: int) -> float:
    day, clock = divmod(hour, 24)
    return 1.0 if day < 5 and 9 <= clock < 18 else 0.02


_PROFILES: dict[str, list[float]] = {
    "flat": [1.0] * _WEEK,
    "day": [_wave(hour) for hour in range(_WEEK)],
    "office": [_office(hour) for hour in range(_WEEK)],
}
PROFILES = tuple(_PROFILES)
