"""Programs that mlport starts for itself end with it: when it is killed, when it raises, and all that they started."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from sdk.packaging.image.engine_ssh import Forward
from sdk.util import children
from tests.waits import until

if TYPE_CHECKING:
    from collections.abc import Sequence

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux can do this")
# A program that starts another one, says both numbers, and ignores a polite request to end.
FAMILY = "trap '' TERM HUP; sleep 600 & echo $$ $!; exec >&-; wait"
STARTER = """
import os, signal, subprocess, sys
from sdk.util import children
options = {"stdout": subprocess.PIPE, "text": True, **eval(sys.argv[2])}
with children.started(["/bin/sh", "-c", sys.argv[1]], **options) as process:
    print(process.stdout.readline(), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def gone(pids: Sequence[int]) -> bool:
    return not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids)


@linux
@pytest.mark.parametrize("options", ["{}", "{'start_new_session': True}"])
def test_they_end_when_their_starter_is_killed(options: str) -> None:
    starter = [sys.executable, "-c", STARTER, FAMILY, options]
    done = subprocess.run(starter, capture_output=True, text=True, check=False)
    assert -9 == done.returncode, done.stderr
    until(lambda: gone([int(word) for word in done.stdout.split()]))


@linux
def test_what_a_program_left_behind_ends_as_well() -> None:
    script = "sleep 600 >/dev/null & echo $!"
    with children.started(["/bin/sh", "-c", script], stdout=subprocess.PIPE, text=True) as process:
        left = int(process.communicate()[0])
        assert psutil.pid_exists(left)
    assert 0 == process.returncode
    until(lambda: gone([left]))


def test_one_that_still_runs_is_killed_at_the_end() -> None:
    with pytest.raises(KeyError), children.started(["sleep", "600"]) as process:
        raise KeyError
    assert -9 == process.returncode


def test_no_descriptor_is_left_open() -> None:
    before = len([*Path("/dev/fd").iterdir()])
    for command in (["true"], ["/no/such/program"], ["false"]):
        try:
            with children.started(command) as process:
                process.wait()
        except FileNotFoundError:
            assert command == ["/no/such/program"]
    assert before == len([*Path("/dev/fd").iterdir()])


SSH = """#!{python} -IS
import os, socket, sys
os.closerange(3, 1000)  # as ssh does at its start
open({note!r}, "w").write(str(os.getpid()))
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[sys.argv.index("-L") + 1].partition(":")[0])
server.listen()
{end}
"""
TUNNEL = """
import os, signal, sys
from sdk.packaging.image.engine_ssh import Forward
Forward("ssh://me@box", sys.argv[1])
os.kill(os.getpid(), signal.SIGKILL)
"""


def own_ssh(folder: Path, end: str = "import time; time.sleep(600)") -> Path:
    program = folder / "ssh"
    program.write_text(SSH.format(python=sys.executable, note=str(folder / "note"), end=end))
    program.chmod(0o755)
    return program


@linux
def test_a_tunnel_ends_when_its_client_is_killed(tmp_path: Path) -> None:
    """Although ssh closes every descriptor that it inherits."""
    done = subprocess.run([sys.executable, "-c", TUNNEL, own_ssh(tmp_path)], capture_output=True, check=False)
    assert -9 == done.returncode, done.stderr
    until(lambda: gone([int((tmp_path / "note").read_text())]))


def test_a_tunnel_ends_when_it_is_closed(tmp_path: Path) -> None:
    forward = Forward("ssh://me@box", str(own_ssh(tmp_path)))
    assert forward.socket.exists()
    forward.close()
    until(lambda: gone([int((tmp_path / "note").read_text())]))
    assert not forward.socket.parent.exists()
