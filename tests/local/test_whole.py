"""The local target through the client itself: notebooks, and a disk that is full."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import sdk
from sdk.client import Client
from sdk.errors import DeployFailed, UnavailableError
from tests.waits import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sdk.packaging.model import Model

NOTEBOOK = """
import sys, sdk
CELL = '''
OFFSET = 7
def helper(x):
    return x + OFFSET
def add(rows):
    return [helper(sum(row)) for row in rows]
class Scaled:
    def __init__(self, by):
        self.by = by
    def predict(self, rows):
        return [self.by * helper(sum(row)) for row in rows]
def fit(params):
    return Scaled(params["by"])
'''
exec(compile(CELL, "/tmp/ipykernel_1/123.py", "exec"), vars(sys.modules["__main__"]))
name = sys.argv[1]
with sdk.temporary(sdk.model(add, name="cell", example=[[1.0, 2.0]]), name=name) as endpoint:
    print(endpoint.predict([[1, 2]]).values)
job = sdk.train(fit, name=name, params={"by": 3})
with sdk.temporary(job.result(example=[[1.0, 2.0]]), name=name + "-x") as endpoint:
    print(endpoint.predict([[1, 2]]).values)
"""

FULL_DISK = """
import resource, signal, sys
from sdk.client import Client
from sdk.errors import SdkError
from sdk.packaging.model import Model
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
client = Client({"default": "local", "state_dir": sys.argv[1], "owner": "me"}, env={})
model = Model.load(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[4]), resource.RLIM_INFINITY))
try:
    client.deploy(model, name=sys.argv[3])
except SdkError as error:
    print(type(error).__name__, error)
"""


def python(code: str, *arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "MLPORT_OWNER": "me"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_notebook(name: str, state: Path) -> None:
    """What was typed into cells is deployed and trained, with the globals and classes it uses."""
    assert ["[10.0]", "[30.0]"] == python(NOTEBOOK, name).splitlines()


ENDINGS = """
import ctypes, os, signal, sys
def serving():
    return "mlport_serving" in sys.modules
def die(rows):
    if serving() and rows[0]["how"] == "exit":
        os._exit(0)
    if serving() and rows[0]["how"] == "crash":
        ctypes.string_at(0)
    if serving() and rows[0]["how"].startswith("SIG"):
        os.kill(os.getpid(), getattr(signal, rows[0]["how"]))
    return [1 for _ in rows]
"""


@pytest.fixture
def ending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Model]:
    """Make a model that ends its replica, or not, as its rows say; its example says it first."""
    (tmp_path / "endings.py").write_text(ENDINGS)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "endings", raising=False)
    die = importlib.import_module("endings").die
    return lambda how: sdk.model(die, name="ends", example=[{"how": how}], code=tmp_path / "endings.py")


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("SIGKILL", "killed by SIGKILL"),
        ("crash", r"Fatal Python error: Segmentation fault \(.*endings.py, line 9, in die"),
        ("exit", r"SystemExit: os\._exit\(0\) \(.*endings.py, line 7, in die"),
    ],
)
def test_a_model_that_ends_its_replica_is_a_failure_with_the_reason(
    state: Path, name: str, ending: Callable[[str], Model], how: str, reason: str
) -> None:
    """A smoke test names how the replica ended, and the line of the model where it crashed."""
    model = ending(how)
    client = Client({"default": "local", "state_dir": str(state), "owner": "me"}, env={})
    with pytest.raises(DeployFailed, match=reason) as failed:
        client.deploy(model, name=name)
    assert "failed its smoke test" in str(failed.value)
    assert [] == client.list()


def test_a_predict_that_ends_its_replica_says_how(state: Path, name: str, ending: Callable[[str], Model]) -> None:
    """Not an earlier end, but that of the replica that had the request."""
    model = ending("no")
    client = Client({"default": "local", "state_dir": str(state), "owner": "me"}, env={})
    endpoint = client.deploy(model, name=name)
    for how in ("SIGKILL", "SIGTERM", "SIGUSR1"):
        until(lambda: endpoint.status.state == "ready")
        if how == "SIGTERM":
            assert [1] == endpoint.predict([{"how": how}]).values  # it answers before it ends
            until(lambda: "exited with code 0" in "".join(line.text for line in client.logs(name)))
            continue
        with pytest.raises(UnavailableError, match=f"killed by {how}") as lost:
            endpoint.predict([{"how": how}])
        assert f"mlport logs {name}" in str(lost.value.hint)
    client.delete(name)


def test_disk_full_during_a_deploy(
    state: Path, name: str, times: Callable[[float], Model], left_over: Callable[[str], list[str]]
) -> None:
    """Wherever the space ends, the error says so, nothing stays, and with space the same deploy works."""
    made = times(2)
    said = {limit: python(FULL_DISK, state, made.path, name, limit) for limit in (0, 300, 2500)}
    assert [] == [limit for limit, text in said.items() if "space" not in text], said
    with Client({"default": "local", "state_dir": str(state)}, env={"MLPORT_OWNER": "me"}) as client:
        report: Any = client.gc(apply=True)
        assert ([], []) == (report.orphans, left_over(name))
        assert [[2.0]] == client.deploy(made, name=name).predict([[1.0]]).values
        client.delete(name)
