"""Blocks new connections before a listening socket is closed, so that pending connections are not reset.

Closing a TCP listener resets connections that the kernel has set up and that are not accepted yet. On Linux a socket
filter first drops new connections (they get no answer, so their client sees "refused" after the close, not "reset").
All pending connections can then be accepted, and the close resets none.

Source: ``SO_ATTACH_FILTER`` in socket(7); the filter is classic BPF over the TCP header.
"""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct
import sys

_ATTACH_FILTER = 26
_FLAGS, _SYN = 13, 0x02  # byte of the TCP header, bit in it
_DROP_NEW = b"".join(
    struct.pack("=HBBI", *instruction)
    for instruction in (
        (0x30, 0, 0, _FLAGS),  # load the flags
        (0x45, 0, 1, _SYN),  # is it a SYN?
        (0x06, 0, 0, 0),  # yes: drop
        (0x06, 0, 0, 0xFFFFFFFF),  # no: keep
    )
)


def keep_out(listener: socket.socket) -> bool:
    """Block new TCP connections to a listener; return whether that is possible on this system."""
    if sys.platform != "linux" or listener.family == socket.AF_UNIX:
        return False
    code = ctypes.create_string_buffer(_DROP_NEW, len(_DROP_NEW))
    program = struct.pack("HP", len(_DROP_NEW) // 8, ctypes.addressof(code))
    with contextlib.suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, program)
        return True
    return False
