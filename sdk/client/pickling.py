"""Pickling of clients together with their handles: only the configuration is sent, never the state.

A client has locks, connections and credentials, none of which can or should be sent. A pickle contains the
configuration as it was read and the name of the target. The receiving process creates one client from them for all
handles that it receives, and uses the credentials and secrets of its own environment.
"""

from __future__ import annotations

import pickle
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from ..config.values import dotted
from ..util.redact import is_secret_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..config import Settings

_MOST = 8  # clients kept for further handles
_clients: dict[bytes, Any] = {}
_lock = threading.Lock()

AnyClient = TypeVar("AnyClient")
Reduced = tuple["Callable[..., Any]", tuple[Any, ...]]


def reduced(kind: Callable[..., AnyClient], settings: Settings, target: str | None) -> Reduced:
    """Return the function and arguments that a client is pickled as.

    Raises:
        TypeError: A setting of a target is a secret, which must not be in a pickle.
    """
    for path, item in settings:
        if item.value is not None and any(map(is_secret_name, path)):
            raise TypeError(
                f"{dotted(path)} ({item.source}) is a secret, so this client cannot be pickled: "
                "make a client in the receiving process and ask it for the endpoint or job by name"
            )
    return received, (kind, settings, target)


def received(kind: Callable[..., AnyClient], settings: Settings, target: str | None) -> AnyClient:
    """Return the client of this configuration in this process; the first handle that arrives creates it."""
    key = pickle.dumps((kind, settings, target))
    with _lock:
        known = _clients.pop(key, None) or kind(settings, target=target)
        _clients[key] = known  # the most recently used client is last
        while len(_clients) > _MOST:
            del _clients[next(iter(_clients))]
    return known
