"""Call a model in a thread of its own, as the server does, and wait for each call only for a limited time.

Nothing in this process can stop a call that blocks in a library's C code, but the main thread can stop waiting for it.
One thread loads the model and calls it, as in the server, since some objects, such as connections of SQLite, may only
be used by the thread that made them.
"""

from __future__ import annotations

import contextvars
import logging
import queue
import threading
import time
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar, cast

from sdk.errors import PackagingError
from sdk.util.durations import format_duration

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

LONGEST_S = 600.0
"""The longest time for one call unless the user sets another: loading large weights may take minutes."""

_REPORTED_S = 30.0
_STOPPING_S = 1.0
_LOG = logging.getLogger(__name__)


class ModelThread:
    """A thread for the calls of one model.

    Args:
        seconds: The longest time for one call.
        reported_s: The time after which a log line reports that a call still runs.
    """

    def __init__(self, seconds: float | None = None, *, reported_s: float = _REPORTED_S) -> None:
        self.seconds = LONGEST_S if seconds is None else seconds
        self.slowest_s = 0.0
        """The duration of the slowest call that has ended."""
        self._reported_s = reported_s
        self._calls: queue.SimpleQueue[_Call | None] | None = None
        self._thread: threading.Thread | None = None

    def call(self, function: Callable[[], T], what: str, *, hint: str, seconds: float | None = None) -> T:
        """Call a function in the thread; return its result or raise its exception.

        Args:
            function: The function, without arguments.
            what: What the caller waits for, such as ``"the model's answer to its example"``.
            hint: Advice in the error when the time is over.
            seconds: The longest time, if it is shorter than that for all calls.

        Raises:
            PackagingError: The call takes longer.
        """
        longest = self.seconds if seconds is None else min(seconds, self.seconds)
        call = _Call(function)
        self._started().put(call)
        ended, began = False, time.monotonic()
        try:
            ended = call.done.wait(min(longest, self._reported_s))
            if not ended and longest > self._reported_s:
                _LOG.warning("still waiting for %s, at most %s", what, format_duration(longest))
                ended = call.done.wait(longest - self._reported_s)
        finally:
            rest = "" if ended or self._stop(call) else "; the call runs on, since it cannot be stopped"
        if not ended:
            message = f"{what} takes more than {format_duration(longest)}{rest}"
            raise PackagingError(message, operation="predict", hint=hint)
        self.slowest_s = max(self.slowest_s, time.monotonic() - began)
        if call.error is not None:
            raise call.error
        return cast("T", call.result)

    def close(self) -> None:
        """End the thread after its last call; a later call starts another."""
        if self._calls is not None:
            self._calls.put(None)
        self._calls = self._thread = None

    def _started(self) -> queue.SimpleQueue[_Call | None]:
        if self._calls is None:
            self._calls = queue.SimpleQueue()
            run, calls = contextvars.copy_context().run, self._calls
            # A daemon thread: a call that never returns does not keep the program from ending.
            self._thread = threading.Thread(target=run, args=(_work, calls), name="mlport-model", daemon=True)
            self._thread.start()
        return self._calls

    def _stop(self, call: _Call) -> bool:
        """Raise an exception within a call that has become useless; return whether the call has ended then."""
        thread = self._thread
        self.close()
        if thread is not None and thread.ident is not None:
            ctypes: Any = import_module("ctypes")
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(_Stop))
        return call.done.wait(_STOPPING_S)


class _Stop(BaseException):
    """The exception that ends a call; the user's ``except Exception`` does not catch it."""


class _Call:
    """A call and its outcome."""

    __slots__ = ("done", "error", "function", "result")

    def __init__(self, function: Callable[[], Any]) -> None:
        self.function = function
        self.done = threading.Event()
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        """Make the call."""
        try:
            self.result = self.function()
        except BaseException as error:  # noqa: BLE001  raised again in the thread that waits
            self.error = error
        finally:
            self.done.set()


def _work(calls: queue.SimpleQueue[_Call | None]) -> None:
    with suppress(_Stop):  # it may arrive after the call's end
        while (call := calls.get()) is not None:
            call.run()
            del call  # so that no result is kept until the next call
