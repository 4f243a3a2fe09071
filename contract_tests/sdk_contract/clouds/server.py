"""The HTTP server of a mini cloud: uvicorn's protocol in a thread of this process, on a free port of 127.0.0.1."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from email.utils import formatdate
from typing import TYPE_CHECKING, Any, Self, cast

import uvloop
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

if TYPE_CHECKING:
    from .tls import Tls

_BACKLOG = 512
_GRACE_S = 1.0
_START_S = 10.0


class Connection(HttpToolsProtocol):
    """A connection that the application can cut; it is in ``scope["state"]["connection"]``."""

    def __init__(self, config: Config, server_state: ServerState) -> None:
        super().__init__(config, server_state, {"connection": self})

    def cut(self) -> None:
        """End the TCP connection at once, without a byte of a reply.

        The socket is shut down rather than only closed: a test that forked holds a second descriptor of it, which would
        keep the client waiting.
        """
        known = self.transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            double = socket.fromfd(known.fileno(), known.family, socket.SOCK_STREAM)
            with contextlib.closing(double):
                double.shutdown(socket.SHUT_RDWR)
        if self.cycle:
            self.cycle.disconnected = True  # uvicorn would complain that the application sent no reply
        self.transport.abort()


class Server:
    """Serves an ASGI application until it is closed.

    Args:
        app: The application.
        tls: The certificate for ``https``; plain HTTP when left out.
        port: 0 for any free one.

    Example:
        >>> with Server(app) as server:  # doctest: +SKIP
        ...     httpx.get(server.url)
    """

    def __init__(self, app: Any, *, tls: Tls | None = None, port: int = 0) -> None:
        self._app, self._tls = app, tls
        self._socket = socket.create_server(("127.0.0.1", port), backlog=_BACKLOG)
        self.port: int = self._socket.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._run, name=f"mini-cloud-{self.port}", daemon=True)
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._state = ServerState()

    def start(self) -> Self:
        """Start the server thread, and return when it answers."""
        self._thread.start()
        if not self._ready.wait(_START_S):
            raise RuntimeError(f"the server on port {self.port} did not start")
        return self

    def close(self) -> None:
        """Accept no new requests, give running ones a moment to finish, and stop."""
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(_GRACE_S + _START_S)
        self._socket.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        uvloop.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        config = Config(
            self._app, ws="none", lifespan="off", log_config=None, access_log=False, proxy_headers=False,
            timeout_keep_alive=75,
        )  # fmt: skip
        config.load()
        server = await self._loop.create_server(
            lambda: Connection(config, self._state),
            sock=self._socket,
            ssl=self._tls.context if self._tls else None,
        )
        ticker = self._loop.create_task(self._tick())
        self._ready.set()
        await self._stop.wait()
        ticker.cancel()
        server.close()
        await self._end()

    async def _tick(self) -> None:
        while True:
            self._state.default_headers = [(b"date", formatdate(usegmt=True).encode())]
            await asyncio.sleep(0.5)

    async def _end(self) -> None:
        for connection in list(self._state.connections):
            cast("Connection", connection).shutdown()
        if self._state.tasks:
            await asyncio.wait(self._state.tasks, timeout=_GRACE_S)
        for connection in list(self._state.connections):
            cast("Connection", connection).transport.abort()
        for task in list(self._state.tasks):
            task.cancel()
        await asyncio.sleep(0)
        finish = getattr(self._app, "finish", None)
        if finish is not None:
            await finish()
