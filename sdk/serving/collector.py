"""The collector of unreachable objects, out of the way while there is nothing to collect."""

from __future__ import annotations

import gc

_LOADING = 200_000  # objects; what libraries and a model make stays, and searching through it is in vain
_usual = gc.get_threshold()


def rest() -> None:
    """Search seldom: what is being imported and loaded is there to stay."""
    gc.set_threshold(_LOADING, *_usual[1:])


def resume() -> None:
    """Search as usual, but never again through what is there by now; that would stop a request for its length."""
    gc.freeze()
    gc.set_threshold(*_usual)
