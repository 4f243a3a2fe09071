"""What the generator and the process that owns it say to each other: MessagePack over two pipes, nothing on disk."""

from __future__ import annotations

import struct
from array import array
from typing import IO, Literal

import msgspec

from .arrivals import Arrivals
from .trial import Outcome, Trial

MOST_BYTES = 4 << 30  # of memory for the generator; those of a window with a million requests are 0.2 GB

_LENGTH = struct.Struct("<Q")


class Shot(msgspec.Struct, frozen=True):
    """One request, ready to be sent: signed, so the generator holds no credentials but these headers."""

    headers: dict[str, str]
    body: bytes


class Aim(msgspec.Struct, frozen=True, tag=True):
    """Where the requests of a subject go.

    Args:
        key: Name of the subject in later messages.
        url: Where its requests are POSTed to.
        verify: ``True`` for the system's certificates, or the PEM text of the only ones to trust.
        timeout_s: After so many seconds a request counts as failed.
        direct: Whether proxies of the environment are left out, as for this machine.
    """

    key: str
    url: str
    verify: bool | str = True
    timeout_s: float = 60.0
    direct: bool = False


class Plan(msgspec.Struct, frozen=True, tag=True):
    """One window of requests.

    Args:
        key: The subject.
        shots: The requests, sent in this order, over and over.
        count: How many requests.
        arrivals: When they are due; ``None`` for a closed loop, where each answer starts the next request.
        lanes: Requests in flight in a closed loop, at least one; so many connections are opened before the window.
        most_in_flight: An open window ends early when so many requests wait for an answer: the backlog grows.
        seconds: A closed window ends after so many seconds.
        trial: Ends an open window as soon as its verdict is certain.
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
    """Measure the shortest of some TCP connects to a subject: the floor of its round trips."""

    key: str
    times: int = 5


class Volley(msgspec.Struct, frozen=True, tag=True):
    """What a window did. Times are seconds as packed doubles, in the order of the schedule.

    Args:
        due: When each request was due, from the start of the window.
        lag: How much later it was sent: the generator's own error; below 0 for one that left early.
        took: From when it was due until its answer was complete; from when it was sent in a closed loop, or when that
            was earlier.
        status: HTTP status as packed 16-bit numbers; 0 for no answer.
        planned: How many requests there should have been.
        wall_s: Seconds from the first due time until the last answer.
        cpu_s: Processor seconds of the generator, all threads.
        loop_s: Processor seconds of the one thread that keeps the schedule.
        opened: Connections that were opened during the window.
        backlog: Most requests in flight.
        grew: Requests in flight added per second, by a line through the window: above 0 the target cannot keep up.
        outcome: What the trial found, if it ended the window.
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
        """Requests that were sent."""
        return len(self.took) // 8

    def seconds(self, name: Literal["due", "lag", "took"]) -> array[float]:
        """One of the series as numbers."""
        found: array[float] = array("d")
        found.frombytes(getattr(self, name))
        return found

    def statuses(self) -> array[int]:
        """The HTTP statuses."""
        found: array[int] = array("H")
        found.frombytes(self.status)
        return found


class Touched(msgspec.Struct, frozen=True, tag=True):
    """The shortest TCP connect, in seconds; ``None`` when none came through."""

    connect_s: float | None


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The generator could not do it."""

    reason: str


class Ready(msgspec.Struct, frozen=True, tag=True):
    """Done, with nothing to say."""


Order = Aim | Plan | Touch
Answer = Volley | Touched | Failed | Ready


def write(stream: IO[bytes], message: Order | Answer) -> None:
    """Writes one message."""
    packed = msgspec.msgpack.encode(message)
    stream.write(_LENGTH.pack(len(packed)) + packed)
    stream.flush()


def read_order(stream: IO[bytes]) -> Order | None:
    """The next order; ``None`` at the end of the stream."""
    packed = _read(stream)
    return None if packed is None else msgspec.msgpack.decode(packed, type=Order)


def read_answer(stream: IO[bytes]) -> Answer | None:
    """The next answer; ``None`` at the end of the stream."""
    packed = _read(stream)
    return None if packed is None else msgspec.msgpack.decode(packed, type=Answer)


def _read(stream: IO[bytes]) -> bytes | None:
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    packed = stream.read(length)
    return packed if len(packed) == length else None
