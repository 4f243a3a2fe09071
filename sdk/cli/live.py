"""The live view of ``mlport monitor --watch``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.live import Live
from rich.text import Text

from ..util.redact import escape_controls

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..client.monitor import Watch
    from .output import Output


def watch_endpoint(out: Output, look: Callable[[], Watch], interval: float) -> None:
    """Show the result of ``look`` every ``interval`` seconds until Ctrl-C; without a terminal, one text per look."""
    if not out.console.is_terminal:
        while not out.unread:
            seen = look()
            out.data(seen.to_dict(), str(seen))
            time.sleep(interval)
        return
    with Live(console=out.console, screen=True, auto_refresh=False) as view:
        while True:
            clock = time.strftime("%H:%M:%S")
            view.update(Text(f"{escape_controls(str(look()))}\n\n{clock}  Ctrl-C ends"), refresh=True)
            time.sleep(interval)
