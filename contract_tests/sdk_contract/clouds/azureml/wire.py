"""A small HTTP/1.1 client for containers on this machine: kept connections, no redirects; events are streamed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

Place = tuple[str, int]
Reply = tuple[int, dict[str, str], "bytes | AsyncGenerator[bytes]"]
_IDLE = 64  # idle connections to one container
_LIMIT = 1 << 20
_EVENTS = "text/event-stream"


class Unreachable(Exception):
    """The container cannot be reached, or closed the connection before it answered."""


class Pool:
    """A pool of idle connections, by container."""

    def __init__(self) -> None:
        self._idle: dict[Place, list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]] = {}
        self._closer: AsyncGenerator[None] | None = None

    async def send(self, where: Place, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """Send one request; send it again on a new connection when an idle one turns out to be closed.

        Raises:
            Unreachable: The container did not answer.
        """
        head = "".join(f"{name}: {text}\r\n" for name, text in headers.items())
        sent = (
            f"{method} {path} HTTP/1.1\r\nhost: {where[0]}\r\ncontent-length: {len(body)}\r\n{head}\r\n".encode(
                "latin-1"
            )
            + body
        )
        if self._closer is None:
            self._closer = self._closed_with_the_loop()
            await anext(self._closer)
        kept = self._idle.setdefault(where, [])
        while kept:
            reader, writer = kept.pop()
            try:
                return await self._exchange(where, reader, writer, sent)
            except (OSError, asyncio.IncompleteReadError):
                writer.close()
        try:
            reader, writer = await asyncio.open_connection(*where, limit=_LIMIT)
            return await self._exchange(where, reader, writer, sent)
        except (OSError, asyncio.IncompleteReadError, ValueError) as error:
            raise Unreachable(str(error)) from error

    async def _closed_with_the_loop(self) -> AsyncGenerator[None]:
        """Close idle connections when the event loop ends, which by then only closes generators."""
        try:
            yield
        finally:
            for _, writer in (one for kept in self._idle.values() for one in kept):
                writer.close()
            await asyncio.sleep(0)

    async def _exchange(
        self, where: Place, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sent: bytes
    ) -> Reply:
        done = False
        try:
            writer.write(sent)
            await writer.drain()
            status, headers = _head(await reader.readuntil(b"\r\n\r\n"))
            if status == 200 and headers.get("content-type", "").startswith(_EVENTS) and _is_chunked(headers):
                done = True
                return status, headers, _streamed(reader, writer)
            body = await _body(reader, headers)
            done = headers.get("connection", "").lower() != "close"
            if done and len(self._idle[where]) < _IDLE:
                self._idle[where].append((reader, writer))
            else:
                writer.close()
        finally:
            if not done:
                writer.close()
        return status, headers, body


def _head(data: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = data.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines if line)
    return int(first.split(" ")[1]), {name.lower(): text.strip() for name, _, text in pairs}


def _is_chunked(headers: Mapping[str, str]) -> bool:
    return headers.get("transfer-encoding", "").lower() == "chunked"


async def _streamed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> AsyncGenerator[bytes]:
    """Iterate over the chunks of a body, and close its connection."""
    try:
        while chunk := await _chunk(reader):
            yield chunk
    finally:
        writer.close()


async def _chunk(reader: asyncio.StreamReader) -> bytes:
    size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
    chunk = await reader.readexactly(size)
    await reader.readexactly(2)
    return chunk


async def _body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    if not _is_chunked(headers):
        return await reader.readexactly(int(headers.get("content-length") or 0))
    found = b""
    while chunk := await _chunk(reader):
        found += chunk
    return found
