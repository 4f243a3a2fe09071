"""What a script shows of a change while it goes on."""

from __future__ import annotations

import logging
import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from sdk.executor import Event
from sdk.util.redact import MASK

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = """
from sdk.client import default_client
from sdk.executor import Event

session = default_client().session("local")
session.tell(Event("create Process churn", "1 replica \\x1b[31m"))
session.tell(Event("note", "nothing changes"))
"""
STAGE, NOTE = "  create Process churn  1 replica \\x1b[31m\n", "mlport: nothing changes\n"


def run(script: str, folder: Path, stderr: int | None = None, **env: str) -> subprocess.CompletedProcess[bytes]:
    """Runs a script in a folder, as somebody whose home that is."""
    where = {"PATH": os.environ["PATH"], "HOME": str(folder), "MLPORT_STATE_DIR": str(folder / "state"), **env}
    command = [sys.executable, "-c", script]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=stderr, env=where, cwd=folder, check=False)


def shown(folder: Path, *, terminal: bool, **env: str) -> str:
    """What the script writes to standard error."""
    leader, follower = pty.openpty() if terminal else os.pipe()
    run(SCRIPT, folder, follower, **env).check_returncode()
    os.close(follower)
    with os.fdopen(leader, "rb", buffering=0) as read:
        return read.read(1 << 16).decode().replace("\r\n", "\n")


def test_in_a_terminal_each_stage_is_told_with_the_time(tmp_path: Path) -> None:
    """Minutes pass while a cloud starts machines; whoever waits sees for what, and no control characters."""
    stage, note = shown(tmp_path, terminal=True).splitlines(keepends=True)
    assert (STAGE, NOTE) == (stage[len("12:34:56") :], note)


@pytest.mark.parametrize(("env", "styled"), [({"TERM": "xterm"}, 1), ({"TERM": "xterm", "NO_COLOR": "1"}, 0)])
def test_a_stage_stands_back_behind_what_the_script_prints(tmp_path: Path, env: dict[str, str], styled: int) -> None:
    """Where the terminal can show that, and its user wants it."""
    assert styled == shown(tmp_path, terminal=True, **env).count("\x1b[2m")


def test_elsewhere_only_notes_are_told(tmp_path: Path) -> None:
    """The output of a script that runs by itself stays its own."""
    assert NOTE == shown(tmp_path, terminal=False)


@pytest.mark.parametrize("without", ["sys.stderr = None", "sys.stderr.close()", "os.close(2)"])
def test_nobody_to_tell_is_no_reason_to_stop(tmp_path: Path, without: str) -> None:
    """A service may have no standard error, and a script may have closed it."""
    done = run(f"import os, sys\n{without}\n{SCRIPT}\nprint('done')", tmp_path)
    assert b"done\n" == done.stdout  # its exit code is 120 with descriptor 2 closed, as Python itself cannot flush


@pytest.mark.parametrize("terminal", [True, False])
def test_with_log_lines_of_that_level_nothing_is_told_twice(tmp_path: Path, terminal: bool) -> None:
    """`MLPORT_LOG=info` puts the stages into any log, with the target's name."""
    stage, note = shown(tmp_path, terminal=terminal, MLPORT_LOG="info").splitlines()
    assert stage.endswith(" INFO sdk.client.session: local: " + STAGE.strip())
    assert note.endswith(" INFO sdk.client.session: local: note  nothing changes")


def test_an_application_gets_every_stage_in_its_log(world: Any, faked: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The same that a client's `progress` is told, with the target's name."""
    with caplog.at_level(logging.INFO, "sdk"):
        world.client().deploy(faked.a_model(), name="churn")
    told = [record.getMessage() for record in caplog.records if record.name == "sdk.client.session"]
    assert "create Gateway churn" == world.events[0]
    assert [f"fake: {stage}" for stage in world.events] == [line.split("  ")[0] for line in told]


def test_no_secret_is_told(world: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A platform's reason may repeat what it was given."""
    session = world.client().session()
    session.redactor.add("hunter2-hunter2")
    told: list[Event] = []
    session.listen(told.append)
    with caplog.at_level(logging.INFO, "sdk"):
        session.tell(Event("wait Job churn", "bad key hunter2-hunter2"))
    assert [f"bad key {MASK}"] == [event.detail for event in told]
    assert f"fake: wait Job churn  bad key {MASK}" in caplog.messages
