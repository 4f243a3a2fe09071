"""``mlport …`` as a process of its own, forked from a process that has its modules: without the second of imports."""

from __future__ import annotations

import atexit
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Mapping

WARM = ("sdk.cli.app", "sdk.cli.handlers", "sdk_local.adapter", "httpx", "rich.console", "pydantic")
KILLED = 128 + signal.SIGKILL


class Commands:
    """The warm process; it ends with this one."""

    def __init__(self) -> None:
        self._channel, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        with other:
            self._process = subprocess.Popen([sys.executable, str(Path(__file__))], stdin=other.fileno())
        atexit.register(self.close)

    def run(
        self, arguments: tuple[str, ...], *, where: Path, env: Mapping[str, str], stdin: str = "", timeout: float = 300
    ) -> subprocess.CompletedProcess[str]:
        """Run one command to its end."""
        order = {"arguments": arguments, "where": str(where), "env": dict(env)}
        with tempfile.TemporaryFile("w+") as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            given.write(stdin)
            given.seek(0)
            given.flush()
            code = self._ended([given.fileno(), out.fileno(), err.fileno()], order, timeout)
            texts = []
            for file in (out, err):
                file.seek(0)
                texts.append(file.read().decode())
        return subprocess.CompletedProcess(arguments, code, *texts)

    def _ended(self, files: list[int], order: dict[str, Any], timeout: float) -> int:
        status, status_end = os.pipe()
        with os.fdopen(status, "rb") as reply:
            with self._lock:
                socket.send_fds(self._channel, [json.dumps(order).encode()], [*files, status_end])
                os.close(status_end)
            timer = threading.Timer(timeout, self._process.kill)
            timer.start()
            try:
                said = reply.read()
            finally:
                timer.cancel()
        return int(said) if said else KILLED

    def close(self) -> None:
        """End the warm process."""
        self._channel.close()
        self._process.wait(10)


@functools.cache
def commands() -> Commands:
    """The warm process of this worker."""
    return Commands()


def _serve() -> None:
    for name in WARM:
        __import__(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(fileno=os.dup(0)) as channel:
        while True:
            message, files, _, _ = socket.recv_fds(channel, 1 << 20, 4)
            if not message:
                return
            if os.fork() == 0:
                channel.close()
                _command(json.loads(message), files[:3], files[3])
            for file in files:
                os.close(file)


def _command(order: dict[str, Any], files: list[int], status: int) -> NoReturn:
    """Do what ``python -m sdk`` does, its end included."""
    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        os.set_inheritable(status, False)
        os.chdir(order["where"])
        os.environ.clear()
        os.environ.update(order["env"])
        folders = [path for path in order["env"].get("PYTHONPATH", "").split(os.pathsep) if path]
        sys.path[:1] = [order["where"], *folders]
        sys.argv = ["mlport", *order["arguments"]]
        code = _entry()
    finally:
        os.write(status, str(code).encode())
        os._exit(code)


def _entry() -> int:
    from sdk.cli import entry

    code = 0
    try:
        entry()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    threading._shutdown()  # type: ignore[attr-defined]  # what the interpreter does at its end
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return code


if __name__ == "__main__":
    _serve()
