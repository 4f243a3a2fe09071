"""Run a user's code in this process, and turn its exceptions into errors with the type, the message and its own lines.

``SystemExit`` would end the program without a message and with the exit code of a success. A ``KeyboardInterrupt``
that the code itself raises would look like Ctrl-C.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import threading
from typing import TYPE_CHECKING

from sdk.errors import PackagingError, SdkError
from sdk.serving.crashes import refuse_exits
from sdk.util.raised import from_exception
from sdk.util.terminated import Terminated

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import FrameType


@contextlib.contextmanager
def running(
    what: str, *, operation: str, hint: str | None = None, others: tuple[type[Exception], ...] = ()
) -> Generator[None]:
    """Run a user's code inside the block.

    Args:
        what: The failure that the error reports, such as ``"the model fails on its own example"``.
        operation: The operation of the error.
        hint: Advice in the error.
        others: Exceptions that pass through, because the caller handles them.

    Raises:
        PackagingError: The code raised an exception, or tried to end the program.

    Example:
        >>> with running("the model fails", operation="predict"):
        ...     raise SystemExit(0)
        Traceback (most recent call last):
        sdk.errors.PackagingError: the model fails: SystemExit: 0 ...
    """
    with _ctrl_c() as pressed, exits_raised():
        try:
            yield
        except (GeneratorExit, asyncio.CancelledError):  # the caller's own exceptions
            raise
        except BaseException as error:
            if isinstance(error, (SdkError, Terminated, *others)) or (isinstance(error, KeyboardInterrupt) and pressed):
                raise
            if isinstance(error, ModuleNotFoundError) and error.name:
                hint = f"install what has the module {error.name} for {sys.executable}, which runs the model to pack it"
            raise PackagingError(f"{what}: {from_exception(error)}", operation=operation, hint=hint) from error


@contextlib.contextmanager
def exits_raised() -> Generator[None]:
    """Make ``os._exit`` raise within the block: it would end the program silently, with status 0 as if it succeeded."""
    restore = refuse_exits()
    try:
        yield
    finally:
        restore()


@contextlib.contextmanager
def _ctrl_c() -> Generator[list[int]]:
    """Yield a list that gets an entry when Ctrl-C is pressed; if empty, a KeyboardInterrupt is the code's own."""
    pressed: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield pressed  # Python raises a KeyboardInterrupt in the main thread only
        return
    before = signal.getsignal(signal.SIGINT)
    if not callable(before):
        yield pressed  # Ctrl-C is ignored, or ends the process at once
        return

    def press(number: int, frame: FrameType | None) -> None:
        pressed.append(number)
        before(number, frame)

    signal.signal(signal.SIGINT, press)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)
