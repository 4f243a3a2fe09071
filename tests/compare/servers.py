"""Real HTTP servers with a latency of their own choice."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable

ANSWER = b'{"predictions":[1.0]}'


class LatencyServer:
    """Answers every POST after ``seconds(n)`` seconds, n counting from 0; keeps what it was sent.

    Args:
        seconds: How long each request takes; negative drops the connection instead.
        status: The HTTP status of each answer.
        freeze: (first, seconds): from the request of that number on nobody is answered for so long.
    """

    def __init__(
        self,
        seconds: Callable[[int], float] = lambda _n: 0.0,
        *,
        status: Callable[[int], int] = lambda _n: 200,
        freeze: tuple[int, float] | None = None,
    ) -> None:
        self._seconds = seconds
        self._status = status
        self._freeze = freeze
        self._thawed: asyncio.Event | None = None
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.connections = 0
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/invocations"

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_error: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._open: list[asyncio.Task[None]] = []
        with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
            listener.setblocking(False)
            self.port: int = listener.getsockname()[1]
            self._loop.add_reader(listener, self._accept, listener)
            self._ready.set()
            await self._stop.wait()
            self._loop.remove_reader(listener)
        await asyncio.sleep(0)  # each has begun then, and so closes its connection when it is cancelled
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def _accept(self, listener: socket.socket) -> None:
        """In one step, as what is accepted by an asyncio server or task that ends is never closed."""
        with suppress(BlockingIOError, ConnectionError):
            link, _ = listener.accept()
            link.setblocking(False)
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            self._open.append(asyncio.create_task(self._connection(link)))

    async def _connection(self, link: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=link)
        try:
            while await self._one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[1:-2]
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        place = len(self.bodies)
        self.bodies.append(body)
        self.headers.append(headers)
        await self._frozen(place)
        seconds = self._seconds(place)
        if seconds < 0:
            return False
        await asyncio.sleep(seconds)
        status = self._status(place)
        writer.write(b"HTTP/1.1 %d x\r\ncontent-length: %d\r\n\r\n%b" % (status, len(ANSWER), ANSWER))
        await writer.drain()
        return True

    async def _frozen(self, place: int) -> None:
        if self._freeze is None or place < self._freeze[0]:
            return
        if self._thawed is None:
            self._thawed = asyncio.Event()
            self._loop.call_later(self._freeze[1], self._thawed.set)
        await self._thawed.wait()
