"""Trouble on demand: what a mini cloud does wrong, at which operation, how often."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, get_args

Kind = Literal[
    "throttle",  # refused with the cloud's "slow down"; nothing was done
    "unavailable",  # refused with a 5xx; nothing was done
    "denied",  # refused for lack of permission; nothing was done
    "drop_before",  # the connection is cut before anything was done
    "drop_after",  # it was done, then the connection is cut instead of a reply
    "slow",  # it was done, and the reply comes `seconds` later
    "stuck",  # accepted, but what was begun is not done for `seconds` (0: never)
    "late",  # accepted, but reads and lists do not see it for `seconds` (0: for the next read)
    "fail",  # accepted, but the operation or resource ends as failed
]
KINDS: tuple[Kind, ...] = get_args(Kind)
#: After these the same request again can succeed, and nothing else is different.
TRANSIENT: tuple[Kind, ...] = ("throttle", "unavailable", "drop_before", "drop_after", "slow")
#: These are left to the handler, which finds them in ``Request.fault``: they concern what it makes, not the reply.
HANDLED: tuple[Kind, ...] = ("stuck", "late", "fail")


@dataclass
class Fault:
    """One planned piece of trouble.

    Attributes:
        operation: The cloud's word, or a pattern such as ``"Create*"`` or ``"s3:*"``.
        kind: What goes wrong.
        times: How many matching calls are hit.
        after: How many matching calls go well first.
        seconds: For ``slow``, ``stuck`` and ``late``.
        status: Another HTTP status than the usual one of the kind.
        struck: How many calls were hit so far.
    """

    operation: str
    kind: Kind
    times: int = 1
    after: int = 0
    seconds: float = 0.0
    status: int | None = None
    struck: int = 0

    def matches(self, service: str, operation: str) -> bool:
        """Whether it is meant for calls of this operation."""
        return fnmatchcase(operation, self.operation) or fnmatchcase(f"{service}:{operation}", self.operation)

    def strikes(self) -> bool:
        """Counts a matching call, and says whether it is hit."""
        if self.struck >= self.times:
            return False
        if self.after:
            self.after -= 1
            return False
        self.struck += 1
        return True


class Faults:
    """The planned trouble of one cloud; may be changed at any time from any thread.

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
        """Plans one more; see :class:`Fault` for what the arguments mean.

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
        """From now on hits each call with this probability, by dice that the seed makes repeatable."""
        with self._lock:
            self._dice, self._rate, self._kinds = random.Random(seed), rate, kinds

    def clear(self) -> None:
        """From now on everything goes well."""
        with self._lock:
            self._planned.clear()
            self._dice = None

    @property
    def pending(self) -> list[Fault]:
        """Planned, but not spent: a test whose fault never struck has shown nothing."""
        with self._lock:
            return [fault for fault in self._planned if fault.struck < fault.times]

    def strike(self, service: str, operation: str) -> Fault | None:
        """The trouble for this call, which is used up by asking."""
        with self._lock:
            for fault in self._planned:
                if fault.matches(service, operation) and fault.strikes():
                    return fault
            if self._dice is not None and self._dice.random() < self._rate:
                return Fault(operation, self._dice.choice(self._kinds), struck=1)
            return None
