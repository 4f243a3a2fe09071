"""The owner's side of the generator: starts its process, sends orders and receives answers."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Self, TypeVar

from ...errors import SdkError
from .messages import (
    MOST_BYTES,
    Aim,
    Answer,
    Failed,
    Order,
    Ready,
    Touch,
    Touched,
    Volley,
    WindowPlan,
    read_answer,
    write,
)

if TYPE_CHECKING:
    from types import TracebackType

T = TypeVar("T", Volley, Touched, Ready)

_GOODBYE_S = 5.0


class Generator:
    """A process that only sends requests.

    It has its own interpreter, so that neither a notebook nor progress output disturbs its schedule. It ends when its
    owner ends for any reason. It executes one order at a time; threads wait for each other.

    Example:
        >>> with Generator() as generator:
        ...     generator.touch("nobody")
        Traceback (most recent call last):
        sdk.errors.SdkError: the load generator failed: KeyError: 'nobody'
    """

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "sdk.compare.load"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C must reach only the owner; this process ends with it
        )
        self._lock = threading.Lock()

    @property
    def pid(self) -> int:
        """The process id of the generator."""
        return self._process.pid

    def aim(self, aim: Aim) -> None:
        """Set where the requests of a subject are sent."""
        self._ask(aim, Ready)

    def touch(self, key: str, times: int = 5) -> float | None:
        """Return the shortest time of several TCP connects to a subject, in seconds; ``None`` if all failed."""
        return self._ask(Touch(key, times), Touched).connect_s

    def fire(self, plan: WindowPlan) -> Volley:
        """Run one window of requests."""
        return self._ask(plan, Volley)

    def close(self) -> None:
        """End the process."""
        stdin, stdout = self._process.stdin, self._process.stdout
        for stream in (stdin, stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        try:
            self._process.wait(_GOODBYE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _ask(self, order: Order, kind: type[T]) -> T:
        answer = self._exchange(order)
        if isinstance(answer, kind):
            return answer
        reason = answer.reason if isinstance(answer, Failed) else f"unexpected {type(answer).__name__}"
        raise SdkError(f"the load generator failed: {reason}", operation="compare")

    def _exchange(self, order: Order) -> Answer:
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None or stdin.closed:
            raise SdkError("the load generator is closed", operation="compare")
        try:
            with self._lock:
                write(stdin, order)
                answer = read_answer(stdout)
        except BrokenPipeError:
            answer = None
        if answer is None:
            code = self._process.wait(_GOODBYE_S)
            raise _died(code)
        return answer


def _died(code: int) -> SdkError:
    if code != -signal.SIGABRT:  # SIGABRT: the system refused more memory
        return SdkError(f"the load generator died with exit code {code}", operation="compare")
    return SdkError(
        f"the load generator ran out of memory, of which it takes at most {MOST_BYTES >> 30} GiB",
        operation="compare",
        hint="look at what the endpoint answers: it may be very long, or have no end",
    )
