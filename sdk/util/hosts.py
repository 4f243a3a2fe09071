"""Checks on host names: whether one is this machine (plain HTTP, no proxy), and whether it is in a domain."""

from __future__ import annotations

import ipaddress
import re

_ADDRESS = re.compile(
    r"(?P<scheme>https?)://(?P<host>localhost|\[[0-9a-fA-F:]+\]|[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)"
    r"(?::(?P<port>[0-9]{1,5}))?(?:[/?#][^\s\\]*)?"
)


def on_this_machine(host: str | None) -> bool:
    """Check whether a host name or address, IPv6 with or without brackets, leads back to this machine.

    Example:
        >>> [on_this_machine(host) for host in ("localhost", "127.0.0.1", "[::1]", "example.com", None)]
        [True, True, True, False, False]
    """
    try:
        return ipaddress.ip_address((host or "").strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def in_domain(host: str | None, *domains: str) -> bool:
    """Check whether a host name is one of these domains, or a name below one of them.

    Example:
        >>> [in_domain(host, "example.com") for host in ("api.example.com", "Example.com", "badexample.com", None)]
        [True, True, False, False]
    """
    name = (host or "").lower().rstrip(".")
    return any(name == domain or name.endswith(f".{domain}") for domain in domains)


def is_at(url: str, *domains: str) -> bool:
    """Check whether an address uses HTTPS at the default port of a host in one of these domains.

    Use it for addresses that another system provides and that receive our credentials: every unusual form is refused.

    Example:
        >>> [is_at(url, "example.com") for url in ("https://api.example.com/x", "https://api.example.com:443")]
        [True, True]
        >>> [is_at(url, "example.com") for url in ("http://example.com", "https://evil/example.com", "https://a@example.com")]
        [False, False, False]
    """
    found = _ADDRESS.fullmatch(url)
    return (
        found is not None
        and found["scheme"] == "https"
        and found["port"] in {None, "443"}
        and in_domain(found["host"], *domains)
    )


def is_here(url: str) -> bool:
    """Check whether an address is on this machine, as those of mini clouds are.

    Example:
        >>> [is_here(url) for url in ("http://127.0.0.1:80/x", "https://[::1]", "http://127.0.0.1@evil", "http://a")]
        [True, True, False, False]
    """
    found = _ADDRESS.fullmatch(url)
    return found is not None and on_this_machine(found["host"])
