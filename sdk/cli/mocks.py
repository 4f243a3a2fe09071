"""``mlport mock …``."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from .. import mocks
from ..config import load
from ..errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from .output import Output

_NONE = "no mini cloud is installed: each comes with the adapter of its cloud"


def _state() -> Path:
    return load().state_dir.value


def do_mock_list(out: Output) -> None:
    """``mlport mock list``."""
    running = {name: mocks.is_up(name, _state()) for name in mocks.names()}
    if out.json_wanted:
        out.data(running, "")
        return
    out.table(("mini cloud", "runs"), [(name, "yes" if up else "no") for name, up in running.items()], empty=_NONE)


def do_mock_up(out: Output, *, names: tuple[str, ...] = (), runner: str = "process", detach: bool = False) -> None:
    """``mlport mock up``."""
    wanted, state = names or mocks.names(), _state()
    if not wanted:
        out.say(_NONE)
        return
    found: dict[str, str] = {}
    running = {name for name in wanted if mocks.is_up(name, state)}
    try:
        for name in wanted:
            with out.working(f"starting {name}"):
                found |= mocks.up(name, state, runner=runner)
        out.data(found, mocks.exports(found))
        if detach:
            return
        out.say("running; Ctrl-C stops")
        while True:
            signal.pause()
    except BaseException:
        for name in wanted if not detach else set(wanted) - running:
            mocks.down(name, state)
        raise


def do_mock_env(out: Output, *, names: tuple[str, ...] = (), account: str | None = None) -> None:
    """``mlport mock env``."""
    state = _state()
    wanted = names or tuple(name for name in mocks.names() if mocks.is_up(name, state))
    if not wanted:
        raise ConfigError("no mini cloud runs", hint="start them with: mlport mock up")
    found: dict[str, str] = {}
    for name in wanted:
        meant = account if names or account is None or mocks.has_accounts(name) else None
        found |= mocks.env(name, state, account=meant)
    out.data(found, mocks.exports(found))


def do_mock_down(out: Output, *, names: tuple[str, ...] = ()) -> None:
    """``mlport mock down``."""
    stopped = [name for name in names or mocks.names() if mocks.down(name, _state())]
    out.data(stopped, "\n".join(f"stopped {name}" for name in stopped) or "none was running")
