"""The command line: ``mlport VERB …``, with the same verbs as in Python. It parses and prints, and decides nothing."""

from __future__ import annotations

import faulthandler
import os
import sys

from . import signals


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code (documented in ``docs/reference/cli.md``)."""
    from .app import run

    return run(sys.argv[1:] if argv is None else argv, environ=os.environ)


def entry() -> None:
    """Run the command line as the console script does."""
    signals.exit_at_once()
    if sys.stderr is not None:  # pyright: ignore[reportUnnecessaryComparison]  # the parent process may have closed it
        faulthandler.enable(all_threads=False)  # a crash in the user's code ends this process; this prints its lines
    raise SystemExit(main())
