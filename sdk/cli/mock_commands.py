"""The handlers of ``mlport mock …``."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from ..adapter.shared import mini_clouds
from ..config.load import state_folder
from ..errors import ConfigError

if TYPE_CHECKING:
    from .output import Output

_NONE = "no mini cloud is installed: each comes with the adapter of its cloud"


def do_mock_list(out: Output) -> None:
    """Run ``mlport mock list``."""
    running = {name: mini_clouds.is_up(name, state_folder()) for name in mini_clouds.names()}
    if out.json_wanted:
        out.data(running, "")
        return
    out.table(("mini cloud", "runs"), [(name, "yes" if up else "no") for name, up in running.items()], empty=_NONE)


def do_mock_up(out: Output, *, names: tuple[str, ...] = (), runner: str = "process", detach: bool = False) -> None:
    """Run ``mlport mock up``."""
    wanted, state = names or mini_clouds.names(), state_folder()
    if not wanted:
        out.say(_NONE)
        return
    found: dict[str, str] = {}
    running = {name for name in wanted if mini_clouds.is_up(name, state)}
    try:
        for name in wanted:
            with out.working(f"starting {name}"):
                found |= mini_clouds.up(name, state, runner=runner)
        out.data(found, mini_clouds.exports(found))
        if detach:
            return
        out.say("running; Ctrl-C stops")
        while True:
            signal.pause()
    except BaseException:
        for name in wanted if not detach else set(wanted) - running:
            mini_clouds.down(name, state)
        raise


def do_mock_env(out: Output, *, names: tuple[str, ...] = (), account: str | None = None) -> None:
    """Run ``mlport mock env``."""
    state = state_folder()
    wanted = names or tuple(name for name in mini_clouds.names() if mini_clouds.is_up(name, state))
    if not wanted:
        raise ConfigError("no mini cloud runs", hint="start them with: mlport mock up")
    found: dict[str, str] = {}
    for name in wanted:
        meant = account if names or account is None or mini_clouds.has_accounts(name) else None
        found |= mini_clouds.env(name, state, account=meant)
    out.data(found, mini_clouds.exports(found))


def do_mock_down(out: Output, *, names: tuple[str, ...] = ()) -> None:
    """Run ``mlport mock down``."""
    stopped = [name for name in names or mini_clouds.names() if mini_clouds.down(name, state_folder())]
    out.data(stopped, "\n".join(f"stopped {name}" for name in stopped) or "none was running")
