"""Whether a host is this machine: what may be spoken to in plain HTTP, and needs no proxy."""

from __future__ import annotations

import ipaddress


def on_this_machine(host: str | None) -> bool:
    """Whether a host name or address, IPv6 with or without brackets, leads back to this machine.

    Example:
        >>> [on_this_machine(host) for host in ("localhost", "127.0.0.1", "[::1]", "example.com", None)]
        [True, True, True, False, False]
    """
    try:
        return ipaddress.ip_address((host or "").strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
