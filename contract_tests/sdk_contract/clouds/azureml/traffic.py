"""How an endpoint's requests are distributed: the rules of a traffic map, and the choice of the next deployment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .answers import failure
from .names import same

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..app import Response

_MOST_MIRRORED = 50


def check_traffic(traffic: Mapping[str, int], mirror: Mapping[str, int], known: Iterable[str]) -> Response | None:
    """Return the refusal of a traffic map that Azure would not accept, or ``None``."""
    there = {name.lower() for name in known}
    unknown = sorted(name for name in {*traffic, *mirror} if name.lower() not in there)
    if unknown:
        return failure(400, "BadArgument", f"properties.traffic: there is no deployment '{unknown[0]}'.")
    if any(share not in range(101) for share in traffic.values()):
        return failure(400, "BadArgument", "properties.traffic: shares are whole percents.")
    if sum(traffic.values()) not in {0, 100}:
        return failure(400, "BadArgument", f"properties.traffic sums to {sum(traffic.values())}, not to 0 or 100.")
    if len(mirror) > 1 or any(not 0 <= share <= _MOST_MIRRORED for share in mirror.values()):
        return failure(
            400, "BadArgument", f"properties.mirrorTraffic: one deployment, at most {_MOST_MIRRORED} percent."
        )
    if any(share == 100 and same(name, one) for one in mirror for name, share in traffic.items()):
        return failure(400, "BadArgument", "properties.mirrorTraffic: the deployment gets all traffic already.")
    return None


class Turns:
    """Smooth weighted round robin: of any 100 requests in a row each deployment gets exactly its share.

    Example:
        >>> turns = Turns()
        >>> [turns.next({"a": 75, "b": 25}) for _ in range(4)]
        ['a', 'a', 'b', 'a']
    """

    def __init__(self) -> None:
        self._weights: dict[str, int] = {}
        self._current: dict[str, int] = {}

    def next(self, weights: Mapping[str, int]) -> str | None:
        """Return the next deployment; ``None`` when none has a share."""
        shares = {name: share for name, share in weights.items() if share}
        if not shares:
            return None
        if shares != self._weights:
            self._weights, self._current = shares, dict.fromkeys(shares, 0)
        for name, share in shares.items():
            self._current[name] += share
        best = max(self._current, key=lambda name: self._current[name])
        self._current[best] -= sum(shares.values())
        return best
