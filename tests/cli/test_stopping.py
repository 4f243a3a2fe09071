"""Signals: each ends the command with its own code and one line, whatever it is doing."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sdk.compare.load import Generator

Run = Callable[..., subprocess.CompletedProcess[str]]

SEND = "import os, signal\nos.kill(os.getpid(), {number})\n"
IN_DESTRUCTOR = """
import os, signal, time
class Dying:
    def __del__(self):
        os.kill(os.getpid(), {number})
        for _ in range(100_000): pass
del_me = Dying()
del del_me
time.sleep(60)
"""


# Tests under nohup would pass on that the end of the terminal is ignored.
MLPORT = "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL); from sdk.cli import entry; entry()"


def _mlport(*arguments: str, folder: Path, **env: str) -> subprocess.Popen[str]:
    base = {key: value for key, value in os.environ.items() if "MLPORT_" not in key or key == "MLPORT_CACHE_DIR"}
    return subprocess.Popen(
        [sys.executable, "-c", MLPORT, *arguments],
        cwd=folder,
        env=base | {"MLPORT_STATE_DIR": str(folder / "state")} | env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize(
    ("number", "code", "module", "body"),
    [
        pytest.param(signal.SIGINT, 130, "click", SEND, id="before the verb"),
        pytest.param(signal.SIGINT, 130, "httpx", SEND, id="in the verb"),
        pytest.param(signal.SIGINT, 130, "httpx", IN_DESTRUCTOR, id="where Python ignores exceptions"),
        pytest.param(signal.SIGTERM, 143, "click", SEND, id="terminated before the verb"),
        pytest.param(signal.SIGTERM, 143, "httpx", IN_DESTRUCTOR, id="terminated in the verb"),
        pytest.param(signal.SIGHUP, 129, "httpx", SEND, id="terminal closed"),
    ],
)
def test_signal_while_python_still_imports(
    tmp_path: Path, number: signal.Signals, code: int, module: str, body: str
) -> None:
    """One line, no stack trace: a module of the import path sends the signal while it is being imported."""
    (tmp_path / f"{module}.py").write_text(body.format(number=int(number)))
    process = _mlport("list", folder=tmp_path, PYTHONPATH=str(tmp_path))
    out, err = process.communicate(timeout=60)
    assert (code, "", "stopped\n") == (process.returncode, out, err)


def test_the_command_line_answers_signals_before_it_imports_anything_large() -> None:
    """Until then Python answers Ctrl-C with a stack trace."""
    code = (
        "import os, sys\nsys.path.insert(0, sys.argv[1])\nbefore = {*sys.modules}\nimport sdk.cli\n"
        "print(*sorted({*sys.modules} - before))"
    )
    root = Path(__file__).parents[2]
    command = [sys.executable, "-I", "-S", "-c", code, str(root)]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.split()
    small = {"__future__", "_warnings", "faulthandler", "importlib", "importlib._bootstrap", "types", "warnings"}
    small |= {"importlib._bootstrap_external"}
    assert set() == {name for name in loaded if name.partition(".")[0] != "sdk"} - small
    assert {"sdk", "sdk.cli", "sdk.cli.signals", "sdk.util", "sdk.util.terminated"} == {
        name for name in loaded if name.partition(".")[0] == "sdk"
    }


def test_signal_outside_of_a_change(tmp_path: Path) -> None:
    """`mock up` waits for its end, takes its mini cloud with it, and leaves the code of the signal."""
    said = ""
    with _mlport("mock", "up", "vertex", folder=tmp_path) as process:
        assert process.stderr is not None
        while "Ctrl-C stops" not in said:
            line = process.stderr.readline()
            assert line, said
            said += line
        os.killpg(process.pid, signal.SIGTERM)
        assert (143, "stopped\n") == (process.wait(60), process.stderr.read())
    done = _mlport("mock", "env", "vertex", folder=tmp_path)
    assert "does not run" in done.communicate(timeout=60)[1]


def test_a_signal_finds_its_exception_while_modules_are_half_imported() -> None:
    """SIGTERM may come while Python is in the middle of any of our modules."""
    code = (
        "import os, signal, sys, types\nfrom sdk.cli import signals\n"
        "sys.modules['sdk.util.waiting'] = types.ModuleType('sdk.util.waiting')\n"
        "try:\n    with signals.Raising():\n        os.kill(os.getpid(), signal.SIGTERM)\n        signal.pause()\n"
        "except KeyboardInterrupt as stop:\n    print(type(stop).__name__, signals.code_of(stop))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert "Terminated 143\n" == done.stdout


def test_ignored_signal_stays_ignored(tmp_path: Path) -> None:
    """What a shell starts in the background is not ended by the Ctrl-C of something else."""
    (tmp_path / "httpx.py").write_text(SEND.format(number=int(signal.SIGINT)) + "raise SystemExit('went on')\n")
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = _mlport("list", folder=tmp_path, PYTHONPATH=str(tmp_path))
    finally:
        signal.signal(signal.SIGINT, before)
    assert "went on" in process.communicate(timeout=60)[1]


def test_ctrl_c_does_not_reach_the_load_generator() -> None:
    """The generator ends with its owner: a signal to the owner's group is not for it, and it prints nothing."""
    with Generator() as generator:
        assert os.getpgid(generator.pid) == generator.pid


WAITING_JOB = """
import os, pathlib, time
print("working", flush=True)
while not pathlib.Path(os.environ["MLPORT_OUTPUT_DIR"], "never").exists():
    time.sleep(0.1)
"""


def test_interrupted_training_runs_on_and_says_how_to_stop_it(run: Run, state: Path, tmp_path: Path) -> None:
    """The line names price and command; the command works as printed, and the job is stopped then."""
    (tmp_path / "wait.py").write_text(WAITING_JOB)
    said = "stopped waiting; job job-on runs on (free), stop it with: mlport stop job-on -t local\n"
    try:
        with _mlport("train", "wait.py", "-n", "job-on", folder=tmp_path, MLPORT_STATE_DIR=str(state)) as process:
            assert process.stderr is not None
            for line in process.stderr:
                if "working" in line:
                    break
            os.killpg(process.pid, signal.SIGINT)
            assert (130, said) == (process.wait(60), process.stderr.read())
        assert "running" in run("status", "job-on").stdout
    finally:
        stopped = run(*["stop", "job-on", "-t", "local"])
    assert (0, "asked job-on to end\n") == (stopped.returncode, stopped.stdout)
    ended = run("status", "job-on", "--wait", "-o", "json")
    assert 1 == ended.returncode
    assert "stopped" in ended.stderr


def test_interrupted_training_in_python_says_it_too(tmp_path: Path) -> None:
    """A script or notebook sees KeyboardInterrupt with a note that names the call."""
    from sdk.client.train import _awaited

    class Job:
        name, target = "night", "aws"

        def wait(self) -> Any:
            raise KeyboardInterrupt

    job: Any = Job()
    with pytest.raises(KeyboardInterrupt) as caught:
        _awaited(job)
    assert ["job 'night' runs on; stop it with sdk.job('night', target='aws').stop()"] == caught.value.__notes__
