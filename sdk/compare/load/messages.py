"""The messages between the generator and its owner process: MessagePack over two pipes, never written to disk."""

from __future__ import annotations

import struct
from array import array
from typing import IO, Literal

import msgspec

from .arrivals import Arrivals
from .trial import Outcome, Trial

MOST_BYTES = 4 << 30  # memory limit of the generator; a window with a million requests takes 0.2 GB

_LENGTH = struct.Struct("<Q")


class Shot(msgspec.Struct, frozen=True):
    """One signed request, ready to be sent: its headers are the only credentials that the generator gets."""

    headers: dict[str, str]
    body: bytes


class Aim(msgspec.Struct, frozen=True, tag=True):
    """The order to set where the requests of a subject are sent.

    Args:
        key: The name of the subject in later messages.
        url: The URL to POST its requests to.
        verify: ``True`` for the system's certificates, or the PEM text of the only certificates to trust.
        timeout_s: The seconds after which a request counts as failed.
        direct: Whether to ignore the proxies of the environment, as for a subject on this machine.
    """

    key: str
    url: str
    verify: bool | str = True
    timeout_s: float = 60.0
    direct: bool = False


class WindowPlan(msgspec.Struct, frozen=True, tag=True):
    """The order to send one window of requests.

    Args:
        key: The subject.
        shots: The requests, sent in this order and repeated as needed.
        count: The number of requests.
        arrivals: When they are due; ``None`` for a closed loop, where each answer starts the next request.
        lanes: Requests in flight in a closed loop, at least one; as many connections are opened before the window.
        most_in_flight: The number of unanswered requests at which an open window ends early: the backlog grows.
        seconds: The seconds after which a closed window ends.
        trial: A test that ends an open window as soon as its verdict is certain.
    """

    key: str
    shots: list[Shot]
    count: int
    arrivals: Arrivals | None = None
    lanes: int = 1
    most_in_flight: int = 10_000
    seconds: float = 3600.0
    trial: Trial | None = None


class Touch(msgspec.Struct, frozen=True, tag=True):
    """The order to measure the shortest of several TCP connects to a subject: the floor of its round trips."""

    key: str
    times: int = 5


class Volley(msgspec.Struct, frozen=True, tag=True):
    """The result of a window. Times are seconds as packed doubles, in the order of the schedule.

    Args:
        due: When each request was due, from the start of the window.
        lag: How much later each request was sent: the generator's own error; below 0 for one that was sent early.
        took: Time from when each request was due until its answer was complete; from when it was sent in a closed
            loop, or if it was sent early.
        status: HTTP status of each request as packed 16-bit numbers; 0 for no answer.
        planned: The planned number of requests.
        wall_s: Seconds from the first due time until the last answer.
        cpu_s: CPU seconds of the generator, all threads.
        loop_s: CPU seconds of the thread that follows the schedule.
        opened: The number of connections opened during the window.
        backlog: The maximum number of requests in flight.
        grew: Growth of the requests in flight per second, by a fitted line; above 0, the target cannot keep up.
        outcome: The verdict of the trial, if it ended the window.
    """

    due: bytes
    lag: bytes
    took: bytes
    status: bytes
    planned: int
    wall_s: float
    cpu_s: float
    loop_s: float
    opened: int
    backlog: int
    grew: float
    outcome: Outcome = ""

    @property
    def count(self) -> int:
        """The number of requests that were sent."""
        return len(self.took) // 8

    def seconds(self, name: Literal["due", "lag", "took"]) -> array[float]:
        """Return one of the series as numbers."""
        found: array[float] = array("d")
        found.frombytes(getattr(self, name))
        return found

    def statuses(self) -> array[int]:
        """Return the HTTP statuses."""
        found: array[int] = array("H")
        found.frombytes(self.status)
        return found


class Touched(msgspec.Struct, frozen=True, tag=True):
    """The answer to a touch: the shortest TCP connect in seconds; ``None`` when all failed."""

    connect_s: float | None


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The answer to an order that failed, with the reason."""

    reason: str


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The answer to an order that succeeded without a result."""


Order = Aim | WindowPlan | Touch
Answer = Volley | Touched | Failed | Ready


def write(stream: IO[bytes], message: Order | Answer) -> None:
    """Write one message."""
    packed = msgspec.msgpack.encode(message)
    stream.write(_LENGTH.pack(len(packed)) + packed)
    stream.flush()


def read_order(stream: IO[bytes]) -> Order | None:
    """Read the next order; return ``None`` at the end of the stream."""
    packed = _read(stream)
    return None if packed is None else msgspec.msgpack.decode(packed, type=Order)


def read_answer(stream: IO[bytes]) -> Answer | None:
    """Read the next answer; return ``None`` at the end of the stream."""
    packed = _read(stream)
    return None if packed is None else msgspec.msgpack.decode(packed, type=Answer)


def _read(stream: IO[bytes]) -> bytes | None:
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    packed = stream.read(length)
    return packed if len(packed) == length else None
