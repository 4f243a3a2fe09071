"""Transaction ids, which sort by time and contain random characters besides the time."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random as _random

    from ..adapter import Clock

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_TIME_DIGITS, _CHANCE_DIGITS = 6, 4


def new_txn(clock: Clock, random: _random.Random) -> str:
    """Make a short transaction id (10 characters of ``[a-z0-9]``): Unix seconds, then random characters."""
    seconds, text = int(clock.time()), ""
    for _ in range(_TIME_DIGITS):
        seconds, digit = divmod(seconds, len(_DIGITS))
        text = _DIGITS[digit] + text
    return text + "".join(random.choice(_DIGITS) for _ in range(_CHANCE_DIGITS))


def begun_at(txn: str) -> float | None:
    """Return when an id was made, in Unix seconds of its machine's clock; ``None`` if not from :func:`new_txn`."""
    if len(txn) != _TIME_DIGITS + _CHANCE_DIGITS or not set(txn) <= set(_DIGITS):
        return None
    return float(int(txn[:_TIME_DIGITS], len(_DIGITS)))
