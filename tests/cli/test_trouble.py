"""Whatever a user does wrong, or the machine cannot do, ends in one short error; `-v` shows the stack trace."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]

BROKEN = {
    "syntax.py": b"def f(:\n",
    "raises.py": b"VALUE = 1 / 0\n",
    "leaves.py": b"import sys\nsys.exit(0)\n",
    "ends.py": b"import os\nos._exit(0)\n",
    "stops.py": b"class Stop(BaseException): pass\nraise Stop('enough')\n",
    "latin.py": b"# \xe9\nm = 1\n",
    "text.onnx": b"this is no ONNX\n",
    "torn.keras": b"PK\x03\x04 torn",
    "torn.tar.gz": b"\x1f\x8b torn",
    "empty.zip": b"",
    "folder.pkl": None,
    "latin1.toml": "default = 'é'".encode("latin-1"),
    "torn.toml": b"[target",
    "wrong.toml": b"target = 3\n",
    "bytes.json": b"\xff\xfe[1]",
    "torn.json": b'{"rows": [',
    "comparison.json": b"[]",
}
COMMANDS = [
    ("plan syntax:f", 3),
    ("plan raises:VALUE", 3),
    ("plan leaves:f", 3),
    ("plan ends:f", 3),
    ("plan stops:f", 3),
    ("plan latin:m", 3),
    ("plan text.onnx", 3),
    ("plan torn.keras", 3),
    ("plan torn.tar.gz", 1),
    ("plan empty.zip", 1),
    ("plan folder.pkl", 3),
    ("plan .", 3),
    ("plan job:no-such-job", 5),
    ("plan job:Bad_Name", 3),
    ("plan sha@sha256:12", 3),
    ("deploy \udcff.onnx", 3),
    ("predict nobody @bytes.json", 2),
    ("predict nobody @torn.json", 2),
    ("predict nobody @folder.pkl", 2),
    ("train missing.py", 3),
    ("train folder.pkl", 3),
    ("train syntax:f", 3),
    ("train raises.py --data x=missing.csv", 3),
    ("compare --from comparison.json", 3),
    ("compare --from bytes.json", 3),
    ("compare --from missing.json", 3),
    ("logs nobody", 5),
    ("stop nobody", 5),
    ("mock up nothing", 3),
    ("mock up vertex --runner nothing", 3),
    ("build models:double --archive folder.pkl", 3),
    ("unlock nobody --id x", 5),
]


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    for name, content in BROKEN.items():
        if content is None:
            (tmp_path / name).mkdir()
        else:
            (tmp_path / name).write_bytes(content)
    return tmp_path


@pytest.mark.parametrize(("command", "code"), COMMANDS, ids=[ascii(command) for command, _ in COMMANDS])
def test_trouble_is_one_error(call: Run, broken: Path, command: str, code: int) -> None:
    """The exit code is that of its kind; there is an error, and no stack trace."""
    done = call(*command.split())
    assert (code, "") == (done.returncode, done.stdout), done.stderr
    assert "Traceback" not in done.stderr
    assert "rror: " in done.stderr
    assert "Errno" not in done.stderr


@pytest.mark.parametrize("file", [name for name in BROKEN if name.endswith(".toml")])
def test_unreadable_configuration(call: Run, broken: Path, file: str) -> None:
    """A configuration that cannot be read is named; -v, before or behind the verb, shows the stack trace."""
    (broken / file).rename(broken / "mlport.toml")
    done = call("list")
    assert (3, "", False) == (done.returncode, done.stdout, "Traceback" in done.stderr), done.stderr
    assert "mlport.toml" in done.stderr
    for loud in (("-v", "list"), ("list", "-v"), ("-v", "config", "show"), ("config", "-v", "show")):
        assert "Traceback" in call(*loud).stderr, loud


STATE = [("/dev/null", "list", 3), ("/proc/nothing", "list", 3), ("/dev/null/deeper", "plan models:double", 1)]


@pytest.mark.parametrize(("state_dir", "command", "code"), STATE)
def test_state_folder_that_cannot_be_had(
    call: Run, monkeypatch: pytest.MonkeyPatch, state_dir: str, command: str, code: int
) -> None:
    """A state folder that is a file, or cannot be made, is named."""
    monkeypatch.setenv("MLPORT_STATE_DIR", state_dir)
    done = call(*command.split())
    assert (code, False) == (done.returncode, "Traceback" in done.stderr), done.stderr
    assert state_dir in done.stderr


SHELL = [
    ("$M list -o json | head -c 0", "0 0", ""),
    ("$M --help | head -c 0", "0 0", ""),
    ("$M capabilities -t local > /dev/full", "1", "error: cannot write to standard output: No space left on device\n"),
    ("$M --version > /dev/full", "1", "error: cannot write to standard output: No space left on device\n"),
    ("$M list 2> /dev/full", "0", ""),
    ("$M list >&- 2>&- <&-", "0", ""),
    ("$M status x 2>&-", "3", ""),
    ("PYTHONIOENCODING=ascii $M capabilities -t local > /dev/null", "0", ""),
]


def test_streams_that_cannot_be_written(tmp_path: Path) -> None:
    """Readers that are gone, full disks, closed streams and narrow encodings: one shell runs all of them."""
    lines = []
    for index, (command, _, _) in enumerate(SHELL):
        counted = f'{command}; echo "${{PIPESTATUS[*]}}" >> codes'
        lines.append(counted if "2>" in command else f"{{ {counted}; }} 2> err-{index}")
    script = "\n".join(lines)
    env = os.environ | {"MLPORT_STATE_DIR": str(tmp_path / "state"), "M": f"{sys.executable} -m sdk"}
    subprocess.run(["bash", "-c", script], cwd=tmp_path, env=env, check=True, timeout=300)
    assert [codes for _, codes, _ in SHELL] == (tmp_path / "codes").read_text().splitlines()
    for index, (command, _, said) in enumerate(SHELL):
        if "2>" not in command:
            assert said == (tmp_path / f"err-{index}").read_text(), command


def test_a_crash_of_the_interpreter_names_the_users_line(tmp_path: Path, state: Path) -> None:
    """Nothing can be caught then: the process ends by the signal, after it has printed where it was."""
    (tmp_path / "native.py").write_text("import ctypes\nctypes.string_at(0)\n")
    command = [sys.executable, "-m", "sdk", "plan", "native:model"]
    environ = {**os.environ, "MLPORT_STATE_DIR": str(state)}
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert -signal.SIGSEGV == done.returncode
    assert "Fatal Python error: Segmentation fault" in done.stderr
    assert 'native.py", line 2 in <module>' in done.stderr
