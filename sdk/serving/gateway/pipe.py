"""Joins standard input and output to a socket of the gateway, for clients that can only run a command next to it.

A client of a container engine connects to the control socket, or to the endpoint itself, through such a command.
It uses only the standard library, since it is started once per connection.
"""

from __future__ import annotations

import os
import selectors
import socket
import sys
from typing import TYPE_CHECKING

from .addresses import split_address

if TYPE_CHECKING:
    from collections.abc import Sequence

_BLOCK = 64 * 1024
_IDLE_S = 600.0  # the only sign of a lost client may be silence


def main(argv: Sequence[str]) -> int:
    """Run `gateway pipe ADDRESS` until either side closes; return 1 if the connection fails."""
    if len(argv) != 1:
        sys.stderr.write("usage: gateway pipe unix:/PATH | tcp:HOST:PORT\n")
        return 2
    try:
        target = split_address(argv[0])
        with _connect(target) as peer:
            _pump(peer)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"mlport gateway pipe: {argv[0]}: {error}\n")
        return 1
    return 0


def _connect(target: str | tuple[str, int]) -> socket.socket:
    if not isinstance(target, str):
        return socket.create_connection(target, timeout=10)
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(target)
    return peer


def _pump(peer: socket.socket) -> None:
    peer.settimeout(_IDLE_S)
    selector = selectors.DefaultSelector()
    selector.register(0, selectors.EVENT_READ)
    selector.register(peer, selectors.EVENT_READ)
    while ready := selector.select(_IDLE_S):
        for key, _ in ready:
            if key.fileobj is peer:
                data = peer.recv(_BLOCK)
                if not data:
                    return
                _write(data)
            else:
                data = os.read(0, _BLOCK)
                if not data:
                    return
                peer.sendall(data)


def _write(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]
