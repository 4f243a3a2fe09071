"""The command line: ``mlport VERB …``, the same verbs as in Python. It parses and prints; it never decides."""

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
    """Run as the console script does."""
    signals.exit_at_once()
    faulthandler.enable(all_threads=False)  # a crash of the user's own code, which ends this process, names its lines
    raise SystemExit(main())
