"""How fast a mini cloud is: the states of its resources are functions of time, so no thread has to wait."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True, slots=True)
class Step:
    """A state that a resource passes through.

    Attributes:
        state: The cloud's name of the state.
        seconds: How long it lasts on the real cloud; ``inf`` for ever.
        until: A further condition that must hold before it ends, such as "the container answers".
    """

    state: str
    seconds: float = 0.0
    until: Callable[[], bool] | None = None


class Pace:
    """How many seconds a mini cloud takes for one second of the real cloud.

    Args:
        factor: 1.0 is as slow as the real cloud. With 0.0 a state ends as soon as one read has shown it, so that
            clients go through every intermediate state without waiting.
        clock: Returns monotonic seconds.

    Example:
        >>> line = Pace().line(Step("Creating", 240.0), final="InService")
        >>> [line.show() for _ in range(3)]
        ['Creating', 'InService', 'InService']
    """

    def __init__(self, factor: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.factor = factor
        self.clock = clock

    def line(self, *steps: Step, final: str) -> Line:
        """Return a line of states that begins now with the first step and ends as ``final``."""
        return Line(self, steps, final)

    def due(self, since: float, seconds: float) -> bool:
        """Return whether this many real seconds have passed since a reading of the clock."""
        return self.clock() - since >= seconds * self.factor


class Line:
    """The states of one resource over time; made by :meth:`Pace.line`.

    ``show`` is for replies to clients, ``now`` for the cloud's own decisions: at pace 0 only a shown state can end.
    """

    def __init__(self, pace: Pace, steps: Sequence[Step], final: str) -> None:
        self._pace, self._steps, self.final = pace, list(steps), final
        self._lock = threading.RLock()
        self._since = pace.clock()
        self._shown = False
        self._passed: list[tuple[str, float]] = []
        self._held: Callable[[], bool] | None = None

    def hold(self, until: Callable[[], bool]) -> None:
        """Let no step end before a condition holds, as when an operation is stuck."""
        self._held = until

    def show(self) -> str:
        """Return the state, and count it as shown to a client."""
        with self._lock:
            state = self.now()
            self._shown = True
            return state

    def now(self) -> str:
        """Return the state, without counting it as shown."""
        with self._lock:
            while self._steps and self._over(self._steps[0]):
                self._next()
            return self._steps[0].state if self._steps else self.final

    @property
    def done(self) -> bool:
        """Whether the final state is reached."""
        self.now()
        return not self._steps

    @property
    def passed(self) -> list[tuple[str, float]]:
        """The states that have ended, each with the clock's reading at its end."""
        with self._lock:
            return list(self._passed)

    def turn(self, *steps: Step, final: str) -> None:
        """Replace the remaining steps: from now on follow these, then another final state."""
        with self._lock:
            self.now()
            if self._steps:
                self._passed.append((self._steps[0].state, self._pace.clock()))
            self._steps, self.final = list(steps), final
            self._since, self._shown = self._pace.clock(), False

    def _over(self, step: Step) -> bool:
        if any(condition is not None and not condition() for condition in (step.until, self._held)):
            return False
        if step.seconds == float("inf"):
            return False
        return self._shown if self._pace.factor == 0 else self._pace.due(self._since, step.seconds)

    def _next(self) -> None:
        step, factor = self._steps.pop(0), self._pace.factor
        self._since = self._pace.clock() if factor == 0 or step.until else self._since + step.seconds * factor
        self._passed.append((step.state, self._since))
        self._shown = False
