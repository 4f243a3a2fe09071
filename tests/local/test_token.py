"""The token of an endpoint is in its file and in a curl line, and nowhere that others look or that is kept."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from sdk.client import Client
from sdk.errors import SdkError
from sdk.util.verbose import _FORMATTER, _HANDLER, CALLS, OURS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdk.packaging.model import Model


@pytest.fixture
def client(state: Path) -> Iterator[Client]:
    settings = {"default": "local", "state_dir": str(state), "log": "debug"}
    levels = {name: logging.getLogger(name).level for name in (OURS, CALLS)}
    with Client(settings, env={"MLPORT_OWNER": "me"}) as made:
        yield made
    _FORMATTER.redactors = []
    for logger, level in levels.items():  # else the tests that follow in this process write to standard error
        logging.getLogger(logger).setLevel(level)
        logging.getLogger(logger).removeHandler(_HANDLER)


def token_of(state: Path, name: str) -> str:
    return (state / "endpoints" / name / "token").read_text().strip()


def processes() -> Iterator[str]:
    """What another user sees of each process, and what this user sees of its own."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            yield "\0".join(process.cmdline())
            if process.pid != os.getpid():
                yield "\0".join(process.environ().values())


def test_it_is_in_no_process_while_curl_runs(client: Client, state: Path, name: str, acting: Model) -> None:
    endpoint = client.deploy(acting, name=name)
    token, line = token_of(state, name), endpoint.curl([["sleep", "1"]])
    assert token in line
    seen = set[str]()
    with subprocess.Popen(["sh"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as shell:
        assert shell.stdin is not None
        assert shell.stdout is not None
        shell.stdin.write(f"{line}\n")
        shell.stdin.close()
        while shell.poll() is None:
            seen.update(processes())
        assert ["1"] == json.loads(shell.stdout.read())["predictions"]
    assert [one for one in seen if one.startswith("curl\0") and "--config\0-" in one], "it was looked at too late"
    assert [] == [one for one in seen if token in one]


def test_it_is_in_no_text(
    client: Client,
    state: Path,
    name: str,
    acting: Model,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Log lines of every level, errors, what a notebook shows, records, journals, logs of the gateway and replicas."""
    caplog.set_level(logging.DEBUG)
    endpoint = client.deploy(acting, name=name)
    token, said = token_of(state, name), list[str]()
    said.append(str(endpoint.predict([["say", f"printed {name}"]])))
    for wrong in ([["fail", "on purpose"]], [[object()]], [["die", ""]]):
        with pytest.raises(SdkError) as caught:
            endpoint.predict(wrong, timeout=10)
        said += [str(caught.value), repr(caught.value), json.dumps(caught.value.to_dict(), default=str)]
    shown: Any = endpoint
    said += [str(endpoint), repr(endpoint), shown._repr_html_(), json.dumps(endpoint.status.to_dict(), default=str)]
    monitored: Any = endpoint.monitor()
    said += [str(monitored), monitored._repr_html_(), *(line.text for line in client.logs(name))]
    said += [caplog.text, *capfd.readouterr()]
    assert f"create Gateway {name}" in caplog.text
    assert [one for one in said if f"printed {name}" in one]
    assert [] == [one for one in said if token in one]
    files = [path for path in state.rglob("*") if path.is_file() and not path.is_relative_to(state / "envs")]
    assert [state / "endpoints" / name / "token"] == [path for path in files if token.encode() in path.read_bytes()]
    assert 0o600 == (state / "endpoints" / name / "token").stat().st_mode & 0o777


def test_commands_show_it_where_it_was_asked_for(client: Client, state: Path, name: str, acting: Model) -> None:
    client.deploy(acting, name=name)
    token, rows = token_of(state, name), '[["", "x"]]'
    env = {**os.environ, "MLPORT_STATE_DIR": str(state), "MLPORT_LOG": "debug", "MLPORT_TARGET": "local"}

    def run(*command: str) -> tuple[str, str]:
        program = Path(sys.executable).with_name("mlport")
        done = subprocess.run([program, *command], env=env, capture_output=True, text=True, check=True)
        return done.stdout, done.stderr

    for command in (["status", name, "-o", "json"], ["predict", name, rows], ["logs", name], ["list"]):
        out, err = run(*command)
        assert out
        assert token not in out + err, command
    out, err = run("predict", name, rows, "--curl")
    assert (True, False) == (token in out, token in err)
