"""Runs one training job and records its outcome; a separate program, so that the job outlives the script.

It is started as ``python -I _runner.py FOLDER`` in a session of its own. It inherits the lock files of the job and of
its GPUs, and holds them until the end. It reads what to run as JSON from standard input, so that secrets are never
written to disk. It ends the job at its time-out, over its memory limit, or when the file ``stop`` appears.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

import psutil

LOG_BYTES = 64 * 2**20
_LINE = 64 * 2**10
# A pipe in the place of the log fails to open instead of blocking the job.
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
_PAUSE_S = 0.1
_WATCH_EVERY = 5
_NO_OUTPUT = 65  # the training entry's exit code for a program that succeeded without output


class Runner:
    """One run of one program."""

    def __init__(self, folder: Path, launch: dict[str, Any]) -> None:
        self.folder = folder
        self.launch = launch
        self.started_at = time.time()
        self.place = _identity(folder)
        self.asked = threading.Event()

    def run(self) -> None:
        """Run the program to its end and record the outcome."""
        signal.signal(signal.SIGTERM, self._ask)
        self._record("running")
        try:
            child = self._start()
        except OSError as error:
            self._record("failed", reason=f"cannot start {self.launch['argv'][0]}: {error.strerror}")
            return
        pump = threading.Thread(target=self._pump, args=(child.stdout,), daemon=True)
        pump.start()
        cut = self._watch(child)
        self._end(child)
        pump.join(5)
        if self._is_there():
            self._finish(child.returncode, cut)

    def _is_there(self) -> bool:
        """Check whether the job still has its folder; without it no client finds the job, and so none could stop it."""
        return _identity(self.folder) == self.place

    def _ask(self, *_: object) -> None:
        self.asked.set()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603  the very program the caller locked and recorded
            self.launch["argv"],
            env=self.launch["env"],
            cwd=self.launch["cwd"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=self.launch["locks"],
            preexec_fn=_die_with_parent,  # noqa: PLW1509  no thread runs yet
        )

    def _watch(self, child: subprocess.Popen[bytes]) -> tuple[str, str] | None:
        """Wait for the end; return state and reason if the job has to be ended early."""
        deadline = time.monotonic() + self.launch["timeout_s"]
        rounds = 0
        while child.poll() is None:
            if self.asked.is_set() or (self.folder / "stop").exists():
                return "stopped", "stopped on request"
            if time.monotonic() >= deadline:
                return "failed", f"timed out after {self.launch['timeout_s']:g} s"
            if not self._is_there():
                return "failed", "its folder was removed"
            limit = self.launch["memory_bytes"]
            if limit and rounds % _WATCH_EVERY == 0 and (used := memory(child.pid)) > limit:
                return "failed", f"out of memory: used {used / 2**30:.2f} GiB of {limit / 2**30:g} GiB"
            rounds += 1
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(_PAUSE_S)
        return None

    def _end(self, child: subprocess.Popen[bytes]) -> None:
        """End what still runs: with SIGTERM first, then kill the whole process group."""
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGTERM)  # the whole group: a helper may hold the pipe open
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(self.launch["stop_s"])
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        _kill_others(self.launch["env"])

    def _finish(self, code: int, cut: tuple[str, str] | None) -> None:
        output = self.folder / "output"
        empty = not output.is_dir() or not any(output.iterdir())
        if cut is not None:
            self._record(cut[0], reason=cut[1], exit_code=code)
        elif empty and code in {0, _NO_OUTPUT}:
            self._record("failed", reason="it left nothing in its output folder ($MLPORT_OUTPUT_DIR)", exit_code=0)
        elif code:
            self._record("failed", reason=explain(code), exit_code=code)
        else:
            self._record("succeeded", exit_code=code)

    def _record(self, state: str, *, reason: str | None = None, exit_code: int | None = None) -> None:
        ended = None if state == "running" else time.time()
        outcome = {"state": state, "reason": reason, "exit_code": exit_code}
        times = {"started_at": self.started_at, "ended_at": ended}
        fresh = self.folder / "state.new"
        with fresh.open("w") as file:
            json.dump({**outcome, **times}, file)
            file.flush()
            os.fsync(file.fileno())
        path = self.folder / "state.json"
        if path.is_dir() and not path.is_symlink():  # damaged
            path.rename(path.with_name(f"state.json.damaged-{os.getpid()}"))
        fresh.replace(path)

    def _pump(self, source: IO[bytes]) -> None:
        """Write each line with its time to the log; a full disk loses lines, never the job."""
        log = self.folder / "log"
        while line := source.readline(_LINE):
            with contextlib.suppress(OSError):
                if log.exists() and log.stat().st_size > LOG_BYTES:
                    log.replace(self.folder / "log.1")
                with os.fdopen(os.open(log, _APPEND, 0o600), "ab") as file:
                    file.write(b"%.3f %s\n" % (time.time(), line.rstrip(b"\r\n")))


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        facts = folder.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return facts.st_dev, facts.st_ino


def memory(pid: int) -> int:
    """Return the bytes of resident memory of a process and its descendants."""
    total = 0
    with contextlib.suppress(psutil.Error):
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                total += process.memory_info().rss
    return total


def explain(code: int) -> str:
    """Describe an exit code.

    Example:
        >>> explain(-9)
        'killed by SIGKILL, as the system does when memory runs out'
    """
    number = -code if code < 0 else code - 128
    if code < 0 or number in {signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT}:
        with contextlib.suppress(ValueError):
            name = signal.Signals(number).name
            memory_hint = ", as the system does when memory runs out" if number == signal.SIGKILL else ""
            return f"killed by {name}{memory_hint}"
    return f"exit code {code}"


def _die_with_parent() -> None:
    """Ask Linux to end the program when its runner is killed; elsewhere the next look at the job ends it."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _kill_others(env: dict[str, str]) -> None:
    mark = env["MLPORT_RUN"]
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.uids().real == os.getuid() and process.environ().get("MLPORT_RUN") == mark:
                process.kill()


def main() -> None:
    """Read the job from standard input, continue in the background and run it."""
    folder = Path(sys.argv[1])
    try:
        launch = json.load(sys.stdin)
    except ValueError:
        return  # the parent process died while sending the job; nothing was started
    if os.fork():
        return  # the child continues: the caller does not have to wait for it
    Runner(folder, launch).run()


if __name__ == "__main__":
    main()
