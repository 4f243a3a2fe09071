"""Streamed answers: the items of a model's answer, read as they arrive.

The server sends server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html) that end with an
event `end`, or `error`; an answer that ends without either was cut off. Other servers may send JSON lines or one JSON
document, or end their events with `[DONE]`.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Self, cast

import httpx
import msgspec

from ..adapter.interface import ModelFault, Streaming
from ..errors import SdkError, TimedOut, UnavailableError, UnreadableError
from ..util.bounded import Patience
from .attempts import REQUEST_ID, model_error
from .payload import EVENTS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Iterator, Mapping

    from .attempts import Attempts

_DONE = "[DONE]"


class ItemParser:
    r"""Parses the body of an answer, piece by piece.

    Args:
        content_type: The answer's content type, which selects the form.
        limit: The most bytes of one item.

    Example:
        >>> parser = ItemParser("text/event-stream", 1000)
        >>> parser.feed(b"data: 1\n\ndata: [2"), parser.feed(b"]\n\nevent: end\ndata: {}\n\n"), parser.ended
        ([1], [[2]], True)
    """

    def __init__(self, content_type: str, limit: int) -> None:
        kind = content_type.partition(";")[0].strip().lower()
        self._events = kind == EVENTS
        self._whole = not self._events and kind.rpartition("/")[2] not in _LINES
        self._limit = limit
        self._rest = bytearray()
        self._name, self._data = "", list[str]()
        self.ended = False
        """Whether the body is complete: for events their last one was read, for other forms the body ended."""
        self.failure: Mapping[str, Any] | None = None
        """The server's error, if it ended the answer with one."""

    def feed(self, piece: bytes) -> list[Any]:
        """Return the items that this piece completes.

        Raises:
            UnreadableError: An item is too large.
        """
        self._rest += piece
        if self._whole:
            self._check_size()
            return []
        lines: list[bytearray] = []
        if b"\n" in piece:  # else a long item would be split again with each piece of it
            *lines, self._rest = self._rest.split(b"\n")
        self._check_size()
        return [item for line in lines if not self.ended for item in self._line(bytes(line).rstrip(b"\r"))]

    def end(self) -> list[Any]:
        """Return the items that only the end of the body completes."""
        rest, self._rest = bytes(self._rest), bytearray()
        if self._events:
            return []
        self.ended = True
        if not self._whole:
            return [_decoded(rest.decode("utf-8", "replace"))] if rest.strip() else []
        try:
            found: list[Any] | dict[str, Any] | str | float | None = msgspec.json.decode(rest)["predictions"]
        except (msgspec.DecodeError, KeyError, TypeError, RecursionError):
            shown = rest[:200].decode("utf-8", "replace")
            raise UnreadableError(
                f"the answer is neither a stream nor a JSON object with `predictions`: {shown!r}"
            ) from None
        return found if isinstance(found, list) else [found]

    def _check_size(self) -> None:
        if len(self._rest) + sum(map(len, self._data)) > self._limit:
            raise UnreadableError(f"an item of the answer has more than {self._limit:,} bytes")

    def _line(self, line: bytes) -> Iterator[Any]:
        if not self._events:
            if line.strip():
                yield _decoded(line.decode("utf-8", "replace"))
        elif line:
            self._field(*line.decode("utf-8", "replace").partition(":")[::2])
        elif self._data or self._name:
            name, data = self._name, "\n".join(self._data)
            self._name, self._data = "", []
            yield from self._event(name, data)

    def _field(self, name: str, value: str) -> None:
        value = value.removeprefix(" ")
        if name == "event":
            self._name = value
        elif name == "data":
            self._data.append(value)
            self._check_size()

    def _event(self, name: str, data: str) -> Iterator[Any]:
        if name == "error":
            told: Any = _decoded(data)
            error: Any = cast("dict[str, Any]", told).get("error") if isinstance(told, dict) else None
            self.failure = cast("dict[str, Any]", error) if isinstance(error, dict) else {"message": data}
        if name in {"end", "error"} or data == _DONE:
            self.ended = True
        elif data:
            yield _decoded(data)


_LINES = frozenset({"jsonlines", "x-ndjson", "jsonl", "x-jsonlines", "x-jsonl", "ndjson"})


def _decoded(text: str) -> Any:
    """Return the value of JSON text; return other text as it is."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text


class _Answer:
    """A streamed answer, its parser, and its errors."""

    def __init__(self, response: httpx.Response, attempts: Attempts) -> None:
        invoker, headers = attempts.invoker, response.headers
        way = invoker.stream or Streaming()
        self.deployment: str | None = None
        with contextlib.suppress(httpx.ResponseNotRead):  # the platform names it in the body only
            self.deployment = invoker.deployment(response) if invoker.deployment else None
        self.request_id: str | None = headers.get(REQUEST_ID) or response.request.headers.get(REQUEST_ID)
        self.response, self._attempts = response, attempts
        self.parser = ItemParser(headers.get(way.content_type, ""), invoker.limits.answer_bytes)
        self._decode = way.decoder() if way.decoder else bytes
        self._count = 0
        self.seconds = attempts.deadline.seconds

    def items(self, piece: bytes | None) -> Iterator[Any]:
        """Iterate over the items that a piece of the body, or its end, completes; then raise any failure after them."""
        parser = self.parser
        try:
            found = parser.feed(self._decode(piece or b""))
            found += parser.end() if piece is None else []
        except SdkError as error:
            raise self._named(error) from error.__cause__
        self._count += len(found)
        yield from found
        if parser.failure is not None:
            raise self._failure(parser.failure)
        if piece is None and not parser.ended:
            raise self.broken("the answer was cut off")

    def _failure(self, told: Mapping[str, Any]) -> SdkError:
        """Return the error for an event in which the server says why the answer ends."""
        message, code = str(told.get("message") or "the model failed"), told.get("code")
        if code == "deadline_exceeded":
            return self.late()
        if code == "overloaded":
            return self.broken(message)
        fault = ModelFault(500, message, told.get("field"), told.get("request_id"), message)
        return model_error(fault, self._attempts.redact, self._facts(), self._attempts.target)

    def late(self, cause: BaseException | None = None) -> TimedOut:
        error = TimedOut(
            f"endpoint {self._attempts.name!r} gave no further item within {self.seconds:g} s, after {self._count}",
            waited_s=self.seconds,
            hint="give each item more time with timeout=",
            **self._facts(),
        )
        error.__cause__ = cause
        return error

    def broken(self, why: str, cause: BaseException | None = None) -> UnavailableError:
        error = UnavailableError(
            self._attempts.redact(f"endpoint {self._attempts.name!r}: after {self._count} items: {why}"),
            sent=True,
            hint="the items so far are valid; a new request starts again from the first",
            **self._facts(),
        )
        error.__cause__ = cause
        return error

    def _named(self, error: SdkError) -> SdkError:
        facts = self._facts()
        error.resource, error.operation = error.resource or facts["resource"], error.operation or facts["operation"]
        error.request_id = error.request_id or self.request_id
        return error

    def _facts(self) -> dict[str, Any]:
        return {
            "provider": self._attempts.provider,
            "operation": "stream",
            "resource": self._attempts.name,
            "request_id": self.request_id,
        }


class Stream:
    """The items of one answer, in the order in which the model yields them.

    Iterate over it once. Closing it, or leaving its ``with`` block, ends the connection, and with it the model's work
    on the request.

    Attributes:
        deployment: The deployment that answers; ``None`` if the platform does not report it.
        request_id: The id under which the server logs the request.

    Example:
        >>> with endpoint.stream([[1.0]]) as answer:  # doctest: +SKIP
        ...     for item in answer:
        ...         print(item, end="", flush=True)
    """

    def __init__(self, response: httpx.Response, attempts: Attempts) -> None:
        answer = _Answer(response, attempts)
        self.deployment, self.request_id = answer.deployment, answer.request_id
        self._response = response
        self._items = _read(answer)  # refers to no stream, so that an abandoned stream ends at once

    def close(self) -> None:
        """End the connection; do nothing if all items were read."""
        self._items.close()
        self._response.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        return next(self._items)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _read(answer: _Answer) -> Generator[Any]:
    pieces = answer.response.iter_bytes()
    patience: Any = answer.response.request.extensions["timeout"]["read"]
    try:
        while not answer.parser.ended:
            if isinstance(patience, Patience):
                patience.restart()  # each item has the whole time
            yield from answer.items(next(pieces, None))
    except httpx.ReadTimeout as error:
        raise answer.late(error) from error
    except httpx.TransportError as error:
        raise answer.broken(str(error) or type(error).__name__, error) from error
    finally:
        answer.response.close()


class AsyncStream:
    """The items of one answer for ``async for``; like :class:`Stream` in all else."""

    def __init__(self, response: httpx.Response, attempts: Attempts) -> None:
        answer = _Answer(response, attempts)
        self.deployment, self.request_id = answer.deployment, answer.request_id
        self._response = response
        self._items = _aread(answer)

    async def aclose(self) -> None:
        """End the connection; do nothing if all items were read."""
        await self._items.aclose()
        await self._response.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        return await anext(self._items)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


async def _aread(answer: _Answer) -> AsyncGenerator[Any]:
    pieces = answer.response.aiter_bytes()
    try:
        while not answer.parser.ended:
            async with asyncio.timeout(answer.seconds):
                piece = await anext(pieces, None)
            for item in answer.items(piece):
                yield item
    except (TimeoutError, httpx.ReadTimeout) as error:
        raise answer.late(error) from error
    except httpx.TransportError as error:
        raise answer.broken(str(error) or type(error).__name__, error) from error
    finally:
        await answer.response.aclose()
