"""What every test needs of the process it runs in."""

from __future__ import annotations

import os
import signal
import sys


def pytest_configure() -> None:
    """Undo what a shell may have set: Ctrl-C that is ignored, and imports that are compiled anew in each process.

    A program in the background ignores Ctrl-C, and its children inherit that. Without compiled files, each of the
    thousand processes that the tests start would compile all that it imports, and pytest all tests.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
