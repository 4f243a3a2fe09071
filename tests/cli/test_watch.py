"""The live view of `mlport monitor --watch`."""

import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sdk.adapter.types import DeploymentStatus, EndpointState, EndpointStatus
from sdk.cli.handlers import show_endpoint
from sdk.cli.live import watch_endpoint
from sdk.cli.output import Output

Run = Callable[..., subprocess.CompletedProcess[str]]


class Seen:
    """A watch with nothing but its text."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return self.text

    def to_dict(self) -> dict[str, Any]:
        return {"text": self.text}


def looks(*texts: str) -> Callable[[], Any]:
    """One look after the other, and then Ctrl-C."""
    left: Iterator[str] = iter(texts)

    def look() -> Seen:
        text = next(left, None)
        if text is None:
            raise KeyboardInterrupt
        return Seen(text)

    return look


def test_without_a_terminal_each_look_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """One text per look, no terminal controls, and Ctrl-C ends it."""
    with pytest.raises(KeyboardInterrupt):
        watch_endpoint(Output(environ={}), looks("rate 1", "rate 2"), 0)
    assert "rate 1\nrate 2\n" == capsys.readouterr().out


def test_a_reason_is_shown_once(capsys: pytest.CaptureFixture[str]) -> None:
    """A deployment has its own in the table only where it is another one than the endpoint's."""
    lost = DeploymentStatus("d1", 100, "updating", "ab" * 32, "h", 1, reason="d1-0 was paused; started again")
    other = DeploymentStatus("d2", 0, "failed", "cd" * 32, "h", 2, reason="never ready")
    whole = EndpointStatus(
        "churn", "box", "docker", EndpointState.UPDATING, "running", None, (lost, other), reason=lost.reason
    )
    show_endpoint(Output(environ={}), whole)
    shown = capsys.readouterr().out
    assert (1, 1) == (shown.count("was paused"), shown.count("never ready"))


def test_terminal_is_redrawn_until_ctrl_c(run: Run, state: Path, home: Path) -> None:
    """In a terminal the view takes the screen, shows the endpoint again and again, and gives the screen back."""
    assert 0 == run("deploy", "models:double", "-n", "watched").returncode
    ours, theirs = pty.openpty()
    env = {
        key: value
        for key, value in os.environ.items()
        if key == "MLPORT_CACHE_DIR" or not (key.startswith("MLPORT_") or key == "CI")
    }
    env |= {"MLPORT_STATE_DIR": str(state), "PYTHONPATH": str(home), "TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
    command = [sys.executable, "-m", "sdk", "monitor", "watched", "--watch", "--interval", "0.05"]
    process = subprocess.Popen(command, env=env, cwd=home, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    try:
        shown = _until(ours, lambda text: text.count("watched on local, last 1h: ok") >= 3)
        process.send_signal(signal.SIGINT)
        shown += _until(ours, lambda _text: False)
        assert 130 == process.wait(timeout=30), shown
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        run("delete", "watched", "--yes")
    assert ("\x1b[?1049h" in shown, "\x1b[?1049l" in shown) == (True, True)


def _until(terminal: int, enough: Callable[[str], bool]) -> str:
    """What appears on a terminal until it is enough, or its program is gone."""
    text = ""
    while not enough(text):
        assert select.select([terminal], [], [], 30)[0], text
        try:
            data = os.read(terminal, 65_536)
        except OSError:  # nobody has it open any more
            break
        if not data:
            break
        text += data.decode(errors="replace")
    return text
