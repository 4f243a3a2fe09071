"""A process runner for tests that forks from a warm interpreter, so a container starts in milliseconds.

The modules loaded from the dependencies before the fork are the same for all images with the same dependencies;
everything else is as in the process runner.
"""

from __future__ import annotations

import atexit
import functools
import os
import select
import signal
import socket
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from sdk.packaging import disk

from .base import StartFailed
from .process import CLOSED, ProcessRunner, base_python

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .process import Process

ZYGOTE = Path(__file__).with_name("zygote.py")
_WARM = ("opt/mlport/runtime", "opt/mlport/site")


class ForkRunner(ProcessRunner):
    """The fork runner; see the module.

    Args:
        folder: As for :class:`~sdk_contract.clouds.runners.process.ProcessRunner`. Unpacked images are in the cache,
            because other runs unpack the same ones.
    """

    name = "fork"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, share=disk.cache_dir() / "unpacked")

    def _begin(self, folder: Path, root: Path) -> Process:
        """Fork the first process."""
        if self._closed:
            raise StartFailed(CLOSED)
        return _ZYGOTES.fork(folder / "spec.json", [root / part for part in _WARM])


class Zygotes:
    """The warm interpreters of this process, one for each set of dependencies; they end with this process."""

    def __init__(self) -> None:
        self._made: dict[tuple[int, ...], Zygote] = {}
        self._lock = threading.Lock()

    def fork(self, spec: Path, warm: Sequence[Path]) -> Forked:
        """Fork a container from an interpreter that has loaded the modules in these folders."""
        key = tuple(_fingerprint(path) for path in warm)
        with self._lock:
            if key not in self._made:
                if not self._made:
                    atexit.register(self.close)
                self._made[key] = Zygote([str(path) for path in warm if path.is_dir()])
            return self._made[key].fork(spec)

    def close(self) -> None:
        """End all interpreters."""
        with self._lock:
            for zygote in self._made.values():
                zygote.close()
            self._made.clear()


_ZYGOTES = Zygotes()


@functools.cache  # an unpacked image does not change
def _fingerprint(path: Path) -> int:
    """Return a value that is equal for two unpacked layers with the same files."""
    return hash(tuple(sorted((item.name, item.stat().st_size) for item in path.rglob("*") if item.is_file())))


class Zygote:
    """One warm interpreter."""

    def __init__(self, path: list[str]) -> None:
        self._channel, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with other:
            self._process = subprocess.Popen(  # our own script
                [base_python(), "-s", str(ZYGOTE)],
                stdin=other.fileno(),
                cwd="/",
                env={"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(path), "PYTHONDONTWRITEBYTECODE": "1"},
                start_new_session=True,
            )

    def fork(self, spec: Path) -> Forked:
        """Fork a container according to this spec."""
        alive, alive_end = os.pipe()
        output, output_end = os.pipe()
        status, status_end = os.pipe()
        try:
            socket.send_fds(self._channel, [str(spec).encode()], [alive, output_end, status_end])
        finally:
            for handle in (alive, output_end, status_end):
                os.close(handle)
        pid = self._channel.recv(32)
        if not pid:
            raise RuntimeError("the warm interpreter ended")
        return Forked(int(pid), os.fdopen(alive_end, "wb"), os.fdopen(output, "rb"), status)

    def close(self) -> None:
        """End the interpreter; its containers end on their own, because their pipes close."""
        self._channel.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        self._process.kill()
        self._process.wait()


class Forked:
    """The parts of :class:`subprocess.Popen` that are needed for a process that is not our child."""

    def __init__(self, pid: int, stdin: BinaryIO, stdout: BinaryIO, status: int) -> None:
        self.pid, self.stdin, self.stdout = pid, stdin, stdout
        self._status: int | None = status
        self._code: int | None = None
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """Return its exit code if it has ended, else ``None``; never block while another thread waits for it."""
        if not self._lock.acquire(blocking=False):
            return None
        try:
            return self._ended(0)
        except subprocess.TimeoutExpired:
            return None
        finally:
            self._lock.release()

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it ends and return its exit code."""
        with self._lock:
            return self._ended(timeout)

    def _ended(self, timeout: float | None) -> int:
        if self._status is None:
            return self._code or 0
        poll = select.poll()  # not select(), which only handles the first 1024 descriptors
        poll.register(self._status, select.POLLIN)
        if not poll.poll(None if timeout is None else timeout * 1000):
            raise subprocess.TimeoutExpired("fork", timeout or 0)
        text = os.read(self._status, 32)
        os.close(self._status)
        self._status, self._code = None, int(text) if text else 128 + signal.SIGKILL
        return self._code

    def send_signal(self, number: int) -> None:
        """Send a signal to the process."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
