"""The command line as a user runs it: a process of its own, in a folder of its own."""

import logging
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sdk.client import Client
from sdk.util.verbose import OURS
from tests.warm import commands

Run = Callable[..., subprocess.CompletedProcess[str]]

MODEL = """
def double(rows):
    return [[2 * value for value in row] for row in rows]


def triple(rows):
    return [[3 * value for value in row] for row in rows]


class Slow:
    def load(self, path):
        import time

        time.sleep(20)

    def predict(self, rows):
        return rows


class Times:
    def __init__(self, factor):
        self.factor = factor

    def predict(self, rows):
        return [[self.factor * value for value in row] for row in rows]


def fit(params):
    return Times(params["factor"])
"""


@pytest.fixture(scope="session")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """State that all tests here share, so that the model's environment is made once; nothing outlives it."""
    folder = tmp_path_factory.mktemp("state")
    yield folder
    with Client(env={"MLPORT_STATE_DIR": str(folder)}) as client:
        for left in client.list():
            client.delete(left.name)


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a module of models."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "models.py").write_text(MODEL)
    return folder


@pytest.fixture
def run(state: Path, tmp_path: Path, home: Path) -> Run:
    """Run ``mlport …``; ``where`` is its folder, ``env`` goes on top of a bare environment."""

    def run_mlport(
        *arguments: str, where: Path = tmp_path, stdin: str = "", **env: str
    ) -> subprocess.CompletedProcess[str]:
        base = {key: value for key, value in os.environ.items() if "MLPORT_" not in key or key == "MLPORT_CACHE_DIR"}
        whole = base | {"MLPORT_STATE_DIR": str(state), "PYTHONPATH": str(home)} | env
        return commands().run(arguments, where=where, env=whole, stdin=stdin)

    return run_mlport


@pytest.fixture
def call(
    state: Path,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """The same in this process: quicker, for commands that start nothing."""
    from sdk.cli import main
    from sdk.cli.output import PACKING

    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(home)
    monkeypatch.setenv("MLPORT_STATE_DIR", str(state))
    monkeypatch.delenv("MLPORT_TARGET", raising=False)

    def call_mlport(*arguments: str) -> subprocess.CompletedProcess[str]:
        before = signal.getsignal(signal.SIGTERM)
        loggers = [(one, one.level, one.handlers[:]) for one in map(logging.getLogger, (OURS, PACKING))]
        try:
            code = main(list(arguments))
        finally:
            signal.signal(signal.SIGTERM, before)
            for logger, level, handlers in loggers:  # or later tests of this process log more than they expect
                logger.setLevel(level)
                logger.handlers = handlers
        out, err = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, code, out, err)

    return call_mlport
