"""Addresses of servers in text form."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

if TYPE_CHECKING:
    from pathlib import Path

ADDRESS = "address.json"
"""The name of the file with a gateway's public address, in its folder."""

_LARGEST = 4096
_MAX_UNIX_PATH = 100  # sun_path holds 104 bytes on macOS and 108 on Linux


def split_address(address: str) -> str | tuple[str, int]:
    """Split an address: `unix:/path` to its path, `tcp:host:port` to host and port."""
    kind, _, rest = address.partition(":")
    if kind == "unix":
        if not rest.startswith("/") or "\0" in rest:
            raise ValueError(f"{address!r} needs an absolute path, as in unix:/run/b.sock")
        if len(os.fsencode(rest)) > _MAX_UNIX_PATH:
            raise ValueError(f"{rest!r} is longer than the {_MAX_UNIX_PATH} bytes a socket path may have")
        return rest
    host, _, port = rest.rpartition(":")
    if kind == "tcp" and host and port.isascii() and port.isdigit() and 0 < int(port) < 65536:
        return host.strip("[]"), int(port)
    raise ValueError(f"{address!r} must be unix:/path or tcp:host:port")


class _Address(msgspec.Struct):
    host: str
    port: Annotated[int, msgspec.Meta(ge=0, le=65_535)]


def read_address(folder: Path) -> dict[str, Any]:
    """Read the host and port that a gateway had in this folder; return an empty dict if they are unknown."""
    try:
        found = msgspec.json.decode(_read(folder / ADDRESS), type=_Address)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return {"host": found.host, "port": found.port}


def _read(path: Path) -> bytes:
    """Read a small regular file; return no bytes for any other kind, since reading that might block forever."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return b""
        return os.read(descriptor, _LARGEST)
    finally:
        os.close(descriptor)
