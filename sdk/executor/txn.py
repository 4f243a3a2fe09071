"""Ids of transactions: sorted by time, and never made from time alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random as _random

    from ..adapter import Clock

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_TIME_DIGITS, _CHANCE_DIGITS = 6, 4


def new_txn(clock: Clock, random: _random.Random) -> str:
    """A short id (10 characters of ``[a-z0-9]``) for a transaction: Unix seconds, then chance."""
    seconds, text = int(clock.time()), ""
    for _ in range(_TIME_DIGITS):
        seconds, digit = divmod(seconds, len(_DIGITS))
        text = _DIGITS[digit] + text
    return text + "".join(random.choice(_DIGITS) for _ in range(_CHANCE_DIGITS))


def begun_at(txn: str) -> float | None:
    """Unix seconds by this machine's clock when an id was made; ``None`` if :func:`new_txn` did not make it."""
    if len(txn) != _TIME_DIGITS + _CHANCE_DIGITS or not set(txn) <= set(_DIGITS):
        return None
    return float(int(txn[:_TIME_DIGITS], len(_DIGITS)))
