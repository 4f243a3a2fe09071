"""Tunnel to an endpoint on a remote engine: a local port, connected to the gateway through the engine.

The gateway publishes its port only on 127.0.0.1 of the engine's machine. A user of the engine can run a command in the
gateway's container; each connection to the local port is carried by one such command.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

from sdk.errors import PlatformError
from sdk.serving.gateway.replies import render

from ._control import PIPE
from ._pipe import Pipe

if TYPE_CHECKING:
    from sdk.packaging.image.engine import Engine

_BLOCK = 64 * 1024
_OPEN_S = 30.0
_IDLE_S = 600.0
_NOT_READY = render(503, {"error": {"code": "not_ready", "message": "The gateway does not run."}}, keep=False)


class Tunnel:
    """A listening port on 127.0.0.1 that leads to one gateway, until it is closed or this process ends.

    Args:
        engine: The engine that runs the gateway.
        container: The gateway's container.
    """

    def __init__(self, engine: Engine, container: str) -> None:
        self._engine = engine
        self._container = container
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, name=f"tunnel-{container}", daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # closed
            threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        """Carry one connection: this thread sends the client's data, another one returns the gateway's answers."""
        with client, contextlib.suppress(PlatformError, OSError):
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # an answer comes in small pieces
            try:
                pipe = Pipe(self._engine, self._container, [*PIPE, "tcp:127.0.0.1:8080"], _OPEN_S)
            except PlatformError:  # the gateway does not run, so no part of the request has arrived
                client.sendall(_NOT_READY)
                return
            back = threading.Thread(target=_answer, args=(pipe, client), daemon=True)
            back.start()
            try:
                while data := client.recv(_BLOCK):
                    pipe.write(data, _OPEN_S)
            finally:
                pipe.close()
                back.join(_OPEN_S)

    def close(self) -> None:
        """Stop accepting connections."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def _answer(pipe: Pipe, client: socket.socket) -> None:
    with contextlib.suppress(PlatformError, OSError, TimeoutError):
        while data := pipe.read(_IDLE_S):
            client.sendall(data)
    with contextlib.suppress(OSError):
        client.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for the client
