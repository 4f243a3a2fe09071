"""Planned faults: what a mini cloud does wrong, at which operation, and how often."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, get_args

Kind = Literal[
    "throttle",  # refused with the cloud's throttling error; nothing was done
    "unavailable",  # refused with a 5xx; nothing was done
    "denied",  # refused for lack of permission; nothing was done
    "drop_before",  # the connection is cut before anything was done
    "drop_after",  # the request was carried out, then the connection is cut instead of a reply
    "slow",  # the request was carried out, and the reply comes `seconds` later
    "stuck",  # accepted, but what was started does not finish for `seconds` (0: never)
    "late",  # accepted, but reads and lists do not show it for `seconds` (0: for the next read)
    "fail",  # accepted, but the operation or resource ends as failed
]
KINDS: tuple[Kind, ...] = get_args(Kind)
#: After one of these kinds the same request can succeed when repeated, and there is no other effect.
TRANSIENT: tuple[Kind, ...] = ("throttle", "unavailable", "drop_before", "drop_after", "slow")
#: The handler applies these kinds, and finds them in ``Request.fault``: they concern what it creates, not the reply.
HANDLED: tuple[Kind, ...] = ("stuck", "late", "fail")


@dataclass
class Fault:
    """One planned fault.

    Attributes:
        operation: The cloud's name of the operation, or a pattern such as ``"Create*"`` or ``"s3:*"``.
        kind: What goes wrong.
        times: How many matching calls are hit.
        after: How many matching calls succeed first.
        seconds: For ``slow``, ``stuck`` and ``late``.
        status: An HTTP status other than the usual one of the kind.
        struck: How many calls have been hit so far.
    """

    operation: str
    kind: Kind
    times: int = 1
    after: int = 0
    seconds: float = 0.0
    status: int | None = None
    struck: int = 0

    def matches(self, service: str, operation: str) -> bool:
        """Return whether the fault is meant for calls of this operation."""
        return fnmatchcase(operation, self.operation) or fnmatchcase(f"{service}:{operation}", self.operation)

    def strikes(self) -> bool:
        """Count a matching call, and return whether it is hit."""
        if self.struck >= self.times:
            return False
        if self.after:
            self.after -= 1
            return False
        self.struck += 1
        return True


class Faults:
    """The planned faults of one cloud; any thread may change them at any time.

    Example:
        >>> faults = Faults()
        >>> _ = faults.add("CreateEndpoint", "throttle", times=2)
        >>> [fault.kind if fault else None for fault in (faults.strike("sagemaker", "CreateEndpoint") for _ in "abc")]
        ['throttle', 'throttle', None]
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._planned: list[Fault] = []
        self._dice: random.Random | None = None
        self._rate = 0.0
        self._kinds: tuple[Kind, ...] = TRANSIENT

    def add(
        self,
        operation: str,
        kind: Kind,
        *,
        times: int = 1,
        after: int = 0,
        seconds: float = 0.0,
        status: int | None = None,
    ) -> Fault:
        """Plan one more fault; see :class:`Fault` for the meaning of the arguments.

        Raises:
            ValueError: There is no such kind.
        """
        if kind not in KINDS:
            raise ValueError(f"kind: {kind!r} is none of {', '.join(KINDS)}")
        fault = Fault(operation, kind, times, after, seconds, status)
        with self._lock:
            self._planned.append(fault)
        return fault

    def script(self, seed: int, rate: float, *, kinds: tuple[Kind, ...] = TRANSIENT) -> None:
        """From now on, hit each call with this probability, with random numbers that the seed makes repeatable."""
        with self._lock:
            self._dice, self._rate, self._kinds = random.Random(seed), rate, kinds

    def clear(self) -> None:
        """Remove all planned faults."""
        with self._lock:
            self._planned.clear()
            self._dice = None

    @property
    def pending(self) -> list[Fault]:
        """Faults that are planned but not used up. A test whose fault never struck has shown nothing."""
        with self._lock:
            return [fault for fault in self._planned if fault.struck < fault.times]

    def strike(self, service: str, operation: str) -> Fault | None:
        """Return the fault for this call, if any, and count it as used."""
        with self._lock:
            for fault in self._planned:
                if fault.matches(service, operation) and fault.strikes():
                    return fault
            if self._dice is not None and self._dice.random() < self._rate:
                return Fault(operation, self._dice.choice(self._kinds), struck=1)
            return None
