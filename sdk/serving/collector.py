"""Tunes Python's garbage collector: rare collections during loading, frozen objects afterwards."""

from __future__ import annotations

import gc

_LOADING = 200_000  # objects; those of libraries and models stay, so collecting them is useless
_usual = gc.get_threshold()


def rest() -> None:
    """Collect rarely while libraries and the model are loaded, since their objects stay."""
    gc.set_threshold(_LOADING, *_usual[1:])


def resume() -> None:
    """Collect as usual again, except for the objects that exist now: scanning those would delay a request."""
    gc.freeze()
    gc.set_threshold(*_usual)
