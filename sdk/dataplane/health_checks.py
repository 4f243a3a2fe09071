"""Health checks of a gateway while a request waits for its answer.

A model may work for minutes, but meanwhile its gateway answers the health path in milliseconds. A gateway that does
not answer was stopped or paused. Reading the status of its endpoint starts it again, and it then answers the waiting
request, which need not be sent again.
"""

from __future__ import annotations

import http.client
import threading
import time
from typing import TYPE_CHECKING, Literal

import httpx

from ..util.bounded_http import BoundedResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Verdict = Literal["well", "ailing", "silent", "unknown"]

_ANSWERS_S = 1.0  # seconds for an answer of the health path; a late one costs no more than one look at the endpoint
_AGAIN = 3  # the check after that look waits for so many times that time
_LEAST_S = 1.0  # with fewer seconds left, the endpoint is not looked at
_PAUSES = (2.0, 2.0, 2.0, 4.0, 8.0)
_LONGEST_BODY = 1024
IN_PART = "ready in part"
"""The text in a gateway's health answer that means that some of its replicas do not answer."""


class Standstill(httpx.TransportError):
    """The gateway accepts connections but does not answer, and reading the endpoint's status did not restart it."""


class HealthWatch:
    """Health checks of one gateway for all requests that wait for it; share it between threads.

    Args:
        health: The URL of the gateway's health path, plain HTTP.
        revive: Looks at the endpoint, that is, reads its status within so many seconds, which restarts a stopped or
            paused gateway. Returns why the endpoint still does not serve, or ``None``.
        pauses: Seconds between the checks of one request; the last one is repeated.
        answers_s: The time that an answer of the health path may take.
    """

    def __init__(
        self,
        health: str,
        revive: Callable[[float], str | None],
        *,
        pauses: tuple[float, ...] = _PAUSES,
        answers_s: float = _ANSWERS_S,
    ) -> None:
        self._pauses = pauses
        self._answers_s = answers_s
        self._health = health
        self._revive = revive
        self._lock = threading.Lock()
        self._looked = 0.0
        self._trouble: str | None = None

    def pauses(self) -> Iterator[float]:
        """Yield the seconds to wait before each check of one request."""
        yield from self._pauses
        while True:
            yield self._pauses[-1]

    def look(self, left: float) -> None:
        """Check once, and look at the endpoint if it is not well. Of many requests at once, one does it for all.

        Raises:
            Standstill: The gateway does not answer.
        """
        begin = time.monotonic()
        with self._lock:
            if self._looked < begin:
                self._trouble = self._found(left)
                self._looked = time.monotonic()
            trouble = self._trouble
        if trouble is not None:
            raise Standstill(trouble)

    def _found(self, left: float) -> str | None:
        end = time.monotonic() + left
        verdict = ask(self._health, min(self._answers_s, left))
        if verdict in {"well", "unknown"}:
            return None
        left = end - time.monotonic()
        if left < _LEAST_S:
            return "its gateway does not answer" if verdict == "silent" else None
        reason = self._revive(left)
        left = end - time.monotonic()
        if verdict == "silent" and (left <= 0 or ask(self._health, min(_AGAIN * self._answers_s, left)) == "silent"):
            return "its gateway does not answer" + (f": {reason}" if reason else "")
        return None


def ask(url: str, seconds: float) -> Verdict:
    """Request a health path and classify its answer.

    A connection that is refused or broken does not mean a standstill: a gateway that is shutting down accepts no new
    connections, but answers the requests that it has.
    """
    parts = httpx.URL(url)
    connection = http.client.HTTPConnection(parts.host, parts.port or 80, timeout=seconds)
    connection.response_class = BoundedResponse
    try:
        connection.request("GET", parts.path)
        answer = connection.getresponse()
        body = answer.read(_LONGEST_BODY)
    except TimeoutError:
        return "silent"
    except (OSError, http.client.HTTPException):
        return "unknown"
    finally:
        connection.close()
    return "well" if answer.status == http.client.OK and IN_PART.encode() not in body else "ailing"
