"""Judge a host name: whether it is this machine (plain HTTP, no proxy), and whether it is in a domain."""

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


def in_domain(host: str | None, *domains: str) -> bool:
    """Return whether a host name is one of these domains, or a name below one of them.

    Example:
        >>> [in_domain(host, "example.com") for host in ("api.example.com", "Example.com", "badexample.com", None)]
        [True, True, False, False]
    """
    name = (host or "").lower().rstrip(".")
    return any(name == domain or name.endswith(f".{domain}") for domain in domains)
