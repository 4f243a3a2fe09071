"""Suggestions for unknown words: the closest known word."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_SHOWN = 20


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return one sentence for an error's hint: the closest known word, or the list of known words.

    Example:
        >>> did_you_mean("regoin", ["region", "role"])
        "did you mean 'region'?"
        >>> did_you_mean("zzz", ["region", "role"])
        'known are: region, role'
    """
    names = sorted(set(known))
    if not names:
        return "none is known here"
    by_lower = {name.lower(): name for name in names}
    close = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    if close:
        return f"did you mean {by_lower[close[0]]!r}?"
    more = ", …" if len(names) > _SHOWN else ""
    return f"known are: {', '.join(names[:_SHOWN])}{more}"
