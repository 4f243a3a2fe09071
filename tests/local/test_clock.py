"""A machine whose clock is set back and forth while an endpoint is made, changed and deleted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from sdk.packaging.model import Model

LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
STORY = """
import select, sys, time
time.sleep = lambda seconds: select.select([], [], [], seconds)  # libfaketime breaks sleeps on the monotonic clock
from pathlib import Path
from sdk.client import Client
from sdk.packaging.model import Model

name, first, second, shift = sys.argv[2], Model.load(sys.argv[3]), Model.load(sys.argv[4]), Path(sys.argv[5])
client = Client({"default": "local", "state_dir": sys.argv[1], "owner": "me"}, env={})
real = time.time()

def jump(to):
    before = time.monotonic()
    shift.write_text(to)
    print("jump", to, round((time.time() - real) / 86_400), time.monotonic() - before < 3_600)

def on(stage, to):  # the clock jumps in the middle of the verb that comes next
    def told(event):
        if event.stage.startswith(stage):
            stop()
            jump(to)
    stop = client.session().listen(told)

def look(endpoint):
    print(endpoint.predict([[1.0]]).values, endpoint.refresh().state, client.gc(apply=True, expired=True).removed)

on("create Process", "-3d")
endpoint = client.deploy(first, name=name, ttl="1h")
look(endpoint)
on("switch", "-400d")
client.deploy(second, name=name, ttl="500d")
look(endpoint)
on("switch", "+0")
client.rollback(name)
look(endpoint)
jump("-1d")
client.delete(name)
print([status.name for status in client.list() if status.name == name], client.gc(apply=True).orphans)
"""


@pytest.mark.skipif(not LIBRARIES, reason="needs libfaketime (Debian: faketime)")
def test_clock_set_back_through_a_whole_life(
    state: Path, name: str, times: Callable[[float], Model], tmp_path: Path, left_over: Callable[[str], list[str]]
) -> None:
    """Deploy, update, roll back and delete with jumps of days in the middle: nothing expires, waits or stays."""
    shift = tmp_path / "shift"
    shift.write_text("+0")
    faked = {
        "LD_PRELOAD": str(LIBRARIES[0]),
        "FAKETIME_TIMESTAMP_FILE": str(shift),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    arguments = [str(state), name, str(times(2).path), str(times(3).path), str(shift)]
    done = subprocess.run(
        [sys.executable, "-c", STORY, *arguments],
        env={**os.environ, **faked},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    expected = [
        "jump -3d -3 True",
        "[[2.0]] ready []",
        "jump -400d -400 True",
        "[[3.0]] ready []",
        "jump +0 0 True",
        "[[2.0]] ready []",
        "jump -1d -1 True",
        "[] []",
    ]
    assert expected == done.stdout.splitlines()
    assert [] == left_over(name)
