"""Leases between the clients of one engine, stored as volumes that hold only labels.

An engine has no compare-and-swap, and creating a volume takes no condition. So a client that wants to write creates a
volume of its own and then lists the volumes again: if there is one that was not there before, the client removes its
own. Of two clients that write at the same time, the one that created its volume second always sees the first. A volume
needs no image, so an engine without images can store it.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from typing import TYPE_CHECKING, Any

from sdk.adapter import LeaseRecord
from sdk.errors import ConflictError, NotFoundError

from ._engine import seconds
from ._errors import PROVIDER

if TYPE_CHECKING:
    from ._engine import Host

_KEY, _BODY, _BEFORE = "mlport-lease", "mlport-lease-body", "mlport-lease-before"
_PREFIX = "mlport-lease-"
_LEFT_S = 10.0  # a volume without effect that is older than this was left by a client that was cut off
_DEAD_S = 3600.0

Volume = dict[str, str]


def read(host: Host, key: str, timeout: float) -> LeaseRecord | None:
    """Return the lease that is in effect."""
    counting = _counting(_all(host, key, timeout))
    return LeaseRecord(counting[0][_BODY], counting[0]["Name"]) if counting else None


def write(host: Host, key: str, body: str, expected: str | None, timeout: float) -> LeaseRecord:
    """Replace the lease if it is the expected one.

    Raises:
        ConflictError: It is another one, or another client was writing at the same time.
    """
    before = _all(host, key, timeout)
    counting = _counting(before)
    now = host.time(0.0)
    young = [one for one in counting[1:] if now - (seconds(one["CreatedAt"]) or 0.0) < _LEFT_S]
    if (counting[0]["Name"] if counting else None) != expected or young:
        raise _taken(key)
    name = f"{_PREFIX}{secrets.token_hex(16)}"
    labels = {"mlport": "1", _KEY: key, _BODY: body, _BEFORE: expected or ""}
    host.engine.call("POST", "/volumes/create", json={"Name": name, "Labels": labels}, timeout_s=timeout)
    known = {one["Name"] for one in before}
    if {one["Name"] for one in _all(host, key, timeout)} - known - {name}:
        _remove(host, name, timeout)
        raise _taken(key)
    for one in known:
        _remove(host, one, timeout)
    _sweep(host, now, timeout)
    return LeaseRecord(body, name)


def delete(host: Host, key: str, expected: str, timeout: float) -> None:
    """Release a lease.

    Raises:
        ConflictError: The lease is not the expected one.
        NotFoundError: No lease with this key exists.
    """
    found = _all(host, key, timeout)
    if not found:
        raise NotFoundError(f"there is no lease {key}", provider=PROVIDER, operation="DeleteLease", resource=key)
    if _counting(found)[0]["Name"] != expected:
        raise _taken(key)
    for one in found:
        if one["Name"] == expected or one["Name"] not in {left["Name"] for left in _counting(found)}:
            _remove(host, one["Name"], timeout)


def _sweep(host: Host, now: float, timeout: float) -> None:
    """Remove volumes that dead clients left, of any endpoint: the volume of a held lease is replaced frequently."""
    for one in _all(host, None, timeout):
        if now - (seconds(one["CreatedAt"]) or now) > _DEAD_S:
            _remove(host, one["Name"], timeout)


def _counting(found: list[Volume]) -> list[Volume]:
    """Return the volumes that were not replaced, oldest first: the oldest holds the lease.

    A second volume belongs to a client that will remove it.

    A volume that exactly one other volume claims to have replaced no longer counts, even when it still exists.
    """
    replaced = [one[_BEFORE] for one in found]
    left = [one for one in found if replaced.count(one["Name"]) != 1]
    return sorted(left, key=lambda one: (one["CreatedAt"], one["Name"]))


def _all(host: Host, key: str | None, timeout: float) -> list[Volume]:
    params = {"filters": json.dumps({"label": [_KEY if key is None else f"{_KEY}={key}"]})}
    answer: dict[str, Any] = host.engine.call("GET", "/volumes", params=params, timeout_s=timeout)
    return [
        {_BODY: "", _BEFORE: "", **one["Labels"], "Name": str(one["Name"]), "CreatedAt": str(one.get("CreatedAt", ""))}
        for one in answer["Volumes"] or ()
    ]


def _remove(host: Host, name: str, timeout: float) -> None:
    with contextlib.suppress(NotFoundError):
        host.engine.call("DELETE", f"/volumes/{name}", timeout_s=timeout)


def _taken(key: str) -> ConflictError:
    return ConflictError(
        f"the lease {key} is not the one that was seen", provider=PROVIDER, operation="WriteLease", resource=key
    )
